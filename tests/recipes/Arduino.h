/* What the sketch uses of Arduino, and of the libraries that it includes. */
#pragma once
#include <cstdio>
#include <ctime>
#include <map>
#include <string>

typedef std::string String;

time_t now_on_board();
#define time(where) now_on_board()
void delay(unsigned long ms);
void configTime(long offset_s, int summer_s, const char *server);

const int WL_CONNECTED = 3;
struct Wifi {
  void begin(const char *name, const char *password);
  int status();
};
extern Wifi WiFi;

class HTTPClient {
 public:
  bool begin(String url);
  void addHeader(const String &name, const String &value);
  int POST(String body);

 private:
  String url_;
  std::map<String, String> headers_;
};

struct OneWire {
  explicit OneWire(int pin);
};

struct DallasTemperature {
  explicit DallasTemperature(OneWire *wire);
  void begin();
  void requestTemperatures();
  float getTempCByIndex(int index);
};
