/* Runs a sketch for three rounds, and prints each request as a line of JSON. The server is busy
 * at the first one; the thermometer is lost in the last round. */
#include "Arduino.h"
#undef time

void setup();
void loop();

static int rounds = 0, requests = 0;
static const time_t began = time(nullptr) - 600;
Wifi WiFi;

time_t now_on_board() { return began + 60 * rounds; }
void delay(unsigned long ms) { rounds += ms / 60000; }
void configTime(long, int, const char *) {}
void Wifi::begin(const char *, const char *) {}
int Wifi::status() { return WL_CONNECTED; }
OneWire::OneWire(int) {}
DallasTemperature::DallasTemperature(OneWire *) {}
void DallasTemperature::begin() {}
void DallasTemperature::requestTemperatures() {}
float DallasTemperature::getTempCByIndex(int) { return rounds < 2 ? 23.1875 : -127; }

static String quoted(const String &text) {
  String made = "\"";
  for (char c : text) made += c == '"' || c == '\\' ? String("\\") + c : String(1, c);
  return made + "\"";
}

bool HTTPClient::begin(String url) {
  url_ = url;
  return true;
}
void HTTPClient::addHeader(const String &name, const String &value) { headers_[name] = value; }

int HTTPClient::POST(String body) {
  int status = requests++ ? 201 : 503;
  String headers;
  for (auto &header : headers_)
    headers += (headers.empty() ? "" : ",") + quoted(header.first) + ":" + quoted(header.second);
  printf("{\"url\":%s,\"headers\":{%s},\"body\":%s,\"answered\":%d}\n", quoted(url_).c_str(),
         headers.c_str(), quoted(body).c_str(), status);
  return status;
}

int main() {
  setup();
  while (rounds < 3) loop();
}
