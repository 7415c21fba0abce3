package report

import (
	"fmt"
	"strings"

	"github.com/confman/confman/bench/work"
)

// machine says where and of what it was measured.
func machine(b *strings.Builder, r *work.Results) {
	m := r.Machine
	if m.Processors == 0 {
		return
	}
	fmt.Fprintf(b, "`%s`, %s. %d processors (%s), Linux %s, %s; Confman %s; 4 KiB and fdatasync: %.2f ms in the median.\n\n",
		m.CommandLine(), m.At.Format("2006-01-02"), m.Processors, m.Model, m.Kernel, m.Go, m.Names(), m.Sync)
}
