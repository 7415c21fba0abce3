package linearizability

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func page(t *testing.T, h *History) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, Report(&b, h, Check(h, testBudget), testBudget))
	return b.String()
}

// dataOf is what a page draws.
func dataOf(t *testing.T, page string) (d reportData) {
	t.Helper()
	_, text, ok := strings.Cut(page, "const DATA = ")
	require.True(t, ok)
	text, _, _ = strings.Cut(text, ";\n")
	require.NoError(t, json.Unmarshal([]byte(text), &d))
	return d
}

func TestReport(t *testing.T) {
	good := page(t, parse(t, eventful+eventfulLog))
	assert.Contains(t, good, "✓ All right")
	assert.NotContains(t, good, "<iframe")
	d := dataOf(t, good)
	assert.Equal(t, []string{"n1", "n2", "n3"}, d.Nodes)
	assert.Len(t, d.Ops, 14)
	assert.Equal(t, []reportSpan{
		{Node: "n1", From: 1, To: 66, Kind: "leader", Label: "term 1"},
		{Node: "n2", From: 66, To: 100, Kind: "leader", Label: "term 2"},
		{Node: "", From: 60, To: 80, Kind: "fault", Label: "isolate: n1 n1→n2"},
		{Node: "n1", From: 60, To: 80, Kind: "minority", Label: "no majority"},
	}, d.Spans)

	stale := strings.Replace(eventful, `"op":7,"outcome":"read","revision":3,"found":true,"value":"u","key_revision":3`, `"op":7,"outcome":"read","revision":2`, 1)
	bad := page(t, parse(t, stale))
	assert.Contains(t, bad, "✗ Violation")
	assert.Contains(t, bad, "<iframe", "Porcupine's page is in it")
	f := dataOf(t, bad).Findings[0]
	assert.Equal(t, "violation", f.Status)
	assert.Contains(t, f.Ops, uint64(7))
	assert.Equal(t, [2]int64{f.From, f.To}, [2]int64{40, 52}, "from the write's first call to the read's return")
}

// TestReportNeedsNoNetwork: no address but the name space of SVG is in the page.
func TestReportNeedsNoNetwork(t *testing.T) {
	for _, text := range []string{eventful, strings.Replace(eventful, `"value":"u","key_revision":3`, `"value":"x","key_revision":3`, 1)} {
		for _, u := range regexp.MustCompile(`(https?:)?//[a-z0-9.]+\.[a-z]{2,}`).FindAllString(page(t, parse(t, text)), -1) {
			assert.Contains(t, u, "www.w3.org")
		}
	}
}

// TestReportEscapes: what clients wrote is no markup.
func TestReportEscapes(t *testing.T) {
	evil := `</script><script>alert(1)</script>`
	h := &History{Ops: []Op{{ID: 1, Node: evil, Kind: Read, Key: evil, Call: 1, Return: 2, Outcome: ReadDone, Found: true, Got: evil, KeyRevision: 1, Revision: 1}}}
	got := page(t, h)
	assert.NotContains(t, got, "<script>alert")
	assert.Equal(t, evil, dataOf(t, got).Nodes[0])
}

// TestReportClaims: an age is true if nothing older than it is missing.
func TestReportClaims(t *testing.T) {
	d := dataOf(t, page(t, parse(t, `
{"t":10,"type":"call","op":1,"kind":"put","key":"a","value":"x"}
{"t":20,"type":"return","op":1,"outcome":"applied","revision":1}
{"t":30,"type":"call","op":2,"kind":"local","key":"a"}
{"t":50,"type":"return","op":2,"outcome":"read","revision":0,"fresh_at":15}
{"t":60,"type":"call","op":3,"kind":"local","key":"a"}
{"t":70,"type":"return","op":3,"outcome":"read","revision":1,"found":true,"value":"x","key_revision":1,"fresh_at":58}
`)))
	assert.Equal(t, []reportClaim{{Op: 2, At: 50, Claimed: 35, True: 30}, {Op: 3, At: 70, Claimed: 12, True: 0}}, d.Claims)
}

// TestReportIsBounded: of a long history it shows what is around the violation.
func TestReportIsBounded(t *testing.T) {
	h := &History{}
	for i := range uint64(2 * maxReportOps) {
		h.Ops = append(h.Ops, Op{ID: i + 1, Kind: Read, Key: fmt.Sprint(i), Call: int64(2 * i), Return: int64(2*i + 1), Outcome: ReadDone})
	}
	v := Verdict{finding(Linearizability, 0, "operation", violation([]*Op{&h.Ops[maxReportOps+7]}, "wrong"))}
	d := newReportData(h, v)
	require.Len(t, d.Ops, maxReportOps)
	assert.Equal(t, uint64(maxReportOps/2+8), d.Ops[0].ID)
	assert.Less(t, d.From, d.Findings[0].From)
	assert.Greater(t, d.To, d.Findings[0].To)
}

// TestReportLoad: answers count when they come, what never returns when it was called.
func TestReportLoad(t *testing.T) {
	h := &History{}
	for i := range uint64(1000) {
		o := Op{ID: i + 1, Kind: Read, Key: "k", Call: int64(1000 * i), Return: int64(1000*i + 10), Outcome: ReadDone}
		switch i % 10 {
		case 1:
			o.Outcome = ReadFailed
		case 2:
			o.Kind, o.Value, o.Outcome, o.Return = Put, fmt.Sprint(i), Unknown, Never
		case 3:
			o.Return += 500
		}
		h.Ops = append(h.Ops, o)
	}
	d := newReportData(h, nil)
	require.Len(t, d.Load, loadStretches)
	var sum reportLoad
	for _, l := range d.Load {
		sum.Done, sum.Refused, sum.Unknown = sum.Done+l.Done, sum.Refused+l.Refused, sum.Unknown+l.Unknown
	}
	assert.Equal(t, reportLoad{Done: 800, Refused: 100, Unknown: 100}, sum)
	assert.EqualValues(t, 10, d.Load[0].P50)
	assert.EqualValues(t, 510, d.Load[0].P99)
	assert.LessOrEqual(t, d.Load[loadStretches-1].To-999_010, int64(5000), "the last ends where the history does")
	assert.Empty(t, newReportData(&History{}, nil).Load)
}
