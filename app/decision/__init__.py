"""The decision about one API call: its numbered steps, the interfaces that the steps use, and the record of the decision."""
