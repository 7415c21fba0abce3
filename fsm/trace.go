package fsm

// sampled is the flag of a Trace that is recorded.
const sampled = 1

// Sampled tells whether the trace is recorded: who has something to say of the command may.
func (t *Trace) Sampled() bool { return t.Flags&sampled != 0 }

// SampledTraceOf is the trace of an encoded command, if that is sampled. It is cheap: the trace is
// the command's end, and a command without one ends in a zero.
func SampledTraceOf(b []byte) (Trace, bool) {
	var t Trace
	size := len(t.ID) + len(t.Span) + 1
	if len(b) < sourceAt+size || b[0] < versionOfTrace || b[0] > Version || b[1] != kindTransaction || b[len(b)-1]&sampled == 0 {
		return Trace{}, false
	}
	end := b[len(b)-size:]
	copy(t.ID[:], end)
	copy(t.Span[:], end[len(t.ID):])
	t.Flags = end[size-1]
	return t, true
}
