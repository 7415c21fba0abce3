package fsm

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestSampledTraceOf: the end of a command says what its decoder says.
func TestSampledTraceOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cmd := Command{
			Ops:   []Op{{Kind: Put, Key: "k", Value: rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "value"), ContentType: "text/plain"}},
			Trace: Trace{ID: [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")), Span: [8]byte{7: 1}, Flags: rapid.Byte().Draw(t, "flags")},
		}
		if rapid.Bool().Draw(t, "untraced") {
			cmd.Trace = Trace{}
		}
		version := rapid.Uint8Range(MinVersion, Version).Draw(t, "version")
		b, err := cmd.EncodeAs(version)
		require.NoError(t, err)
		got, ok := SampledTraceOf(b)
		assert.Equal(t, version >= versionOfTrace && cmd.Trace.Sampled(), ok)
		if ok {
			assert.Equal(t, cmd.Trace, got)
		}
	})
}

func TestSampledTraceOfWhatIsNone(t *testing.T) {
	for _, b := range [][]byte{nil, {1}, {Version, kindTransaction, 1}, append([]byte{Version + 1, kindTransaction}, make([]byte, 100)...)} {
		_, ok := SampledTraceOf(b)
		assert.False(t, ok)
	}
}
