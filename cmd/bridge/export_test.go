package main

// Main is the command, for the scripts.
func Main() { main() }
