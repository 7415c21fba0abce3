package linearizability

import (
	"cmp"
	_ "embed" // the report's page
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"
)

// maxReportOps bounds the operations in a report, so that a browser stays quick.
// Of a longer history it shows those nearest to the violation, or else the first.
const maxReportOps = 50_000

//go:embed report.html
var reportPage string

//go:embed report.js
var reportScript string

var reportTemplate = template.Must(template.New("report").Parse(reportPage))

// reportData is what the page draws. Times are ns.
type reportData struct {
	From     int64           `json:"from"`
	To       int64           `json:"to"`
	Nodes    []string        `json:"nodes"`
	Clients  []int           `json:"clients"`
	Ops      []reportOp      `json:"ops"`
	Spans    []reportSpan    `json:"spans"`
	Claims   []reportClaim   `json:"claims"`
	Load     []reportLoad    `json:"load"`
	Findings []reportFinding `json:"findings"`
}

type reportOp struct {
	ID     uint64 `json:"id"`
	Client int    `json:"client"`
	Call   int64  `json:"call"`
	Return int64  `json:"ret"` // -1: never
	Class  string `json:"class"`
	Label  string `json:"label"`
	Text   string `json:"text"`
}

// reportSpan is a time in which a node, or the cluster if Node is empty, was in a
// state: leader, down, paused, minority or fault.
type reportSpan struct {
	Node  string `json:"node"`
	From  int64  `json:"from"`
	To    int64  `json:"to"`
	Kind  string `json:"kind"`
	Label string `json:"label"`
}

// reportClaim is how old an answer was when it came: as claimed, and in truth.
type reportClaim struct {
	Op      uint64 `json:"op"`
	At      int64  `json:"at"`
	Claimed int64  `json:"claimed"`
	True    int64  `json:"true"`
}

// reportLoad is what came back in a stretch of time that ends at To.
type reportLoad struct {
	To      int64 `json:"to"`
	Done    int   `json:"done"`
	Refused int   `json:"refused"` // and failed
	Unknown int   `json:"unknown"` // when they were called
	// P50 and P99 are how long what was done took, in ns.
	P50 int64 `json:"p50"`
	P99 int64 `json:"p99"`
}

type reportFinding struct {
	Judge  string   `json:"judge"`
	Status string   `json:"status"` // ok, violation, no answer
	Text   string   `json:"text"`
	Ops    []uint64 `json:"ops"`
	From   int64    `json:"from"`
	To     int64    `json:"to"`
}

// Report writes a page about h and v that needs nothing but a browser: who asked
// what when, what happened to the nodes, what was claimed and what was true, and the
// window of each violation. budget is Porcupine's, as of [Check].
func Report(w io.Writer, h *History, v Verdict, budget time.Duration) error {
	data := newReportData(h, v)
	page := struct {
		Data        *reportData
		Script      template.JS
		Visualizer  string
		Total       int
		Failed      bool
		NotAnswered bool
	}{Data: data, Script: template.JS(reportScript), Total: len(h.Ops)} //nolint:gosec // our own script
	for _, f := range data.Findings {
		page.Failed = page.Failed || f.Status == "violation"
		page.NotAnswered = page.NotAnswered || f.Status == "no answer"
	}
	if slices.Contains(v.Caught(), Porcupine) {
		var b strings.Builder
		if _, err := visualize(h, budget, &b); err != nil {
			return fmt.Errorf("linearizability: Porcupine's page: %w", err)
		}
		page.Visualizer = b.String()
	}
	if err := reportTemplate.Execute(w, page); err != nil {
		return fmt.Errorf("linearizability: writing the report: %w", err)
	}
	return nil
}

func newReportData(h *History, v Verdict) *reportData {
	d := &reportData{
		Nodes: []string{}, Clients: []int{}, Ops: []reportOp{}, Spans: []reportSpan{}, Claims: []reportClaim{}, Load: []reportLoad{}, Findings: []reportFinding{},
	}
	for i := range v {
		d.Findings = append(d.Findings, reportOf(&v[i]))
	}
	ops := d.choose(h)
	d.limits(h, ops)
	clients, nodes := map[int]bool{}, map[string]bool{}
	for _, o := range ops {
		clients[o.Client], nodes[o.Node] = true, true
		d.Ops = append(d.Ops, reportedOp(o))
	}
	for i := range h.Events {
		nodes[h.Events[i].Node] = true
	}
	delete(nodes, "")
	d.Clients = append(d.Clients, slices.Sorted(maps.Keys(clients))...)
	d.Nodes = append(d.Nodes, slices.Sorted(maps.Keys(nodes))...)
	d.addSpans(h)
	d.addClaims(h, ops)
	d.addLoad(h)
	return d
}

func reportOf(f *Finding) reportFinding {
	r := reportFinding{Judge: f.Judge, Status: "ok", Text: f.Judged, Ops: []uint64{}}
	switch {
	case f.Violation != nil:
		r.Status, r.Text, r.From, r.To = "violation", f.Violation.Text, f.Violation.From, f.Violation.To
		r.Ops = append(r.Ops, f.Violation.Ops...)
	case len(f.NoAnswer) > 0:
		r.Status, r.Text = "no answer", f.Judged+"; keys "+strings.Join(f.NoAnswer, ", ")
	}
	return r
}

// choose are the operations that the report shows, in order of their calls.
func (d *reportData) choose(h *History) []*Op {
	ops := make([]*Op, 0, len(h.Ops))
	for i := range h.Ops {
		ops = append(ops, &h.Ops[i])
	}
	slices.SortFunc(ops, byCall)
	if len(ops) <= maxReportOps {
		return ops
	}
	first := 0
	if i := slices.IndexFunc(d.Findings, func(f reportFinding) bool { return f.Status == "violation" }); i >= 0 {
		middle := sort.Search(len(ops), func(n int) bool { return ops[n].Call >= d.Findings[i].From })
		first = min(max(0, middle-maxReportOps/2), len(ops)-maxReportOps)
	}
	return ops[first : first+maxReportOps]
}

// limits sets the time that the report covers.
func (d *reportData) limits(h *History, ops []*Op) {
	d.From = Never
	cover := func(t int64) { d.From, d.To = min(d.From, t), max(d.To, t) }
	for _, o := range ops {
		cover(o.Call)
		if o.Return != Never {
			cover(o.Return)
		}
	}
	if len(ops) == len(h.Ops) {
		for i := range h.Events {
			cover(h.Events[i].At)
		}
	}
	if d.From == Never {
		d.From = 0
	}
	d.To = max(d.To, d.From+1)
}

func reportedOp(o *Op) reportOp {
	r := reportOp{ID: o.ID, Client: o.Client, Call: o.Call, Return: o.Return, Text: o.String()}
	switch {
	case o.isUnknown():
		r.Class = "unknown"
	case o.Outcome == NotApplied || o.Outcome == ReadFailed || o.Return == Never:
		r.Class = "refused"
	case o.Outcome == Applied:
		r.Class = "write"
	default:
		r.Class = "read"
	}
	if o.Return == Never {
		r.Return = -1
	}
	var b strings.Builder
	o.describe(&b)
	r.Label = b.String()
	return r
}

// addSpans makes spans of events.
func (d *reportData) addSpans(h *History) {
	events := slices.Clone(h.Events)
	slices.SortStableFunc(events, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
	open := map[string]int{} // node and kind to position in Spans
	end := func(node, kind string, at int64) {
		if i, ok := open[node+"/"+kind]; ok {
			d.Spans[i].To = at
			delete(open, node+"/"+kind)
		}
	}
	begin := func(node, kind, label string, at int64) {
		end(node, kind, at)
		open[node+"/"+kind] = len(d.Spans)
		d.Spans = append(d.Spans, reportSpan{Node: node, From: at, To: d.To, Kind: kind, Label: label})
	}
	for i := range events {
		switch e := &events[i]; e.Kind {
		case Leads:
			begin(e.Node, "leader", fmt.Sprintf("term %d", e.Term), e.At)
			for _, n := range d.Nodes {
				if n != e.Node {
					end(n, "leader", e.At)
				}
			}
		case Started:
			end(e.Node, "down", e.At)
		case Crashed:
			end(e.Node, "leader", e.At)
			end(e.Node, "paused", e.At)
			begin(e.Node, "down", cmp.Or(e.Text, "down"), e.At)
		case Paused:
			begin(e.Node, "paused", "paused", e.At)
		case Resumed:
			end(e.Node, "paused", e.At)
		case FaultBegins, FaultEnds, AppliedEntry:
		}
	}
	d.addFaults(h)
}

// addFaults makes spans of faults, each for the cluster and for the nodes that it
// cut off.
func (d *reportData) addFaults(h *History) {
	ends := map[uint64]int64{}
	for i := range h.Events {
		if e := &h.Events[i]; e.Kind == FaultEnds {
			ends[e.Fault] = e.At
		}
	}
	for i := range h.Events {
		e := &h.Events[i]
		if e.Kind != FaultBegins {
			continue
		}
		to, ok := ends[e.Fault]
		if !ok {
			to = d.To
		}
		label := e.Name
		if len(e.Nodes) > 0 {
			label += ": " + strings.Join(e.Nodes, ", ")
		}
		for _, l := range e.Links {
			label += " " + l[0] + "→" + l[1]
		}
		d.Spans = append(d.Spans, reportSpan{From: e.At, To: to, Kind: "fault", Label: label})
		for _, n := range e.Minority {
			d.Spans = append(d.Spans, reportSpan{Node: n, From: e.At, To: to, Kind: "minority", Label: "no majority"})
		}
	}
}

// addClaims says of each claim how old the answer was in truth: the time since the
// first acknowledgment of a write that it has not.
func (d *reportData) addClaims(h *History, ops []*Op) {
	acks := h.acknowledgments().writes
	slices.SortFunc(acks, func(a, b *Op) int { return cmp.Compare(a.Revision, b.Revision) })
	first := make([]int64, len(acks)+1) // the first return of acks[i:]
	first[len(acks)] = Never
	for i := len(acks) - 1; i >= 0; i-- {
		first[i] = min(first[i+1], acks[i].Return)
	}
	for _, o := range ops {
		if !o.Claims || o.Outcome != ReadDone || o.Return == Never {
			continue
		}
		n := sort.Search(len(acks), func(i int) bool { return acks[i].Revision > o.Revision })
		c := reportClaim{Op: o.ID, At: o.Return, Claimed: o.Return - o.FreshAt}
		if first[n] < o.Return {
			c.True = o.Return - first[n]
		}
		d.Claims = append(d.Claims, c)
	}
}

// loadStretches is into how many parts the time is cut to draw the load.
const loadStretches = 200

// addLoad says how much was asked when, and how long it took: of all operations, also those that are not shown.
func (d *reportData) addLoad(h *History) {
	if len(h.Ops) == 0 {
		return
	}
	from, to := Never, int64(0)
	for i := range h.Ops {
		o := &h.Ops[i]
		from, to = min(from, o.Call), max(to, o.Call)
		if o.Return != Never {
			to = max(to, o.Return)
		}
	}
	width := (to-from)/loadStretches + 1
	took := make([][]int64, (to-from)/width+1)
	d.Load = make([]reportLoad, len(took))
	for i := range h.Ops {
		o := &h.Ops[i]
		n := (o.Call - from) / width
		if o.Return != Never {
			n = (o.Return - from) / width
		}
		switch {
		case o.isUnknown():
			d.Load[n].Unknown++
		case o.Outcome == NotApplied || o.Outcome == ReadFailed || o.Return == Never:
			d.Load[n].Refused++
		default:
			d.Load[n].Done++
			took[n] = append(took[n], o.Return-o.Call)
		}
	}
	for i, each := range took {
		l := &d.Load[i]
		l.To = from + int64(i+1)*width
		if len(each) > 0 {
			slices.Sort(each)
			l.P50, l.P99 = each[len(each)/2], each[len(each)*99/100]
		}
	}
}
