package host

// pause tells the processor that this is a loop which waits.
func pause()
