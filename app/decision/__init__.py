"""The decision about one call: its numbered steps, the ports that it needs, and the record of what it saw."""
