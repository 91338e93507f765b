"""From an MQTT broker to ingest."""
