"""What to do: pure functions over the model. Time comes in as an argument; nothing here does I/O, logs or waits."""
