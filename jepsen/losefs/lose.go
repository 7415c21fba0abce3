package losefs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Loss is what a loss of power took, of what was not durable.
type Loss struct {
	Pieces, PiecesLost int // of files; one that is as it was before is lost, unless it comes out the same
	PiecesTorn         int // of those that are lost: the rest of each is kept
	Names, NamesLost   int // changes of names
	SizesLost          int // files that have another length than before
}

func (l Loss) String() string {
	return fmt.Sprintf("%d of %d pieces (%d of them in part), %d of %d changes of names and the length of %d files are lost", l.PiecesLost, l.Pieces, l.PiecesTorn, l.NamesLost, l.Names, l.SizesLost)
}

// Lost is how much is not as it was.
func (l Loss) Lost() int { return l.PiecesLost + l.NamesLost + l.SizesLost }

// LosePower forgets what was not durable, or some of it. The disk must not be mounted.
func (d *Disk) LosePower() (Loss, error) {
	if d.Mounted() {
		return Loss{}, errMounted
	}
	d.losses++
	rng := rand.New(rand.NewPCG(d.o.Seed, d.losses))
	objects := slices.SortedFunc(maps.Values(d.objects), func(a, b *object) int { return int(a.number) - int(b.number) })
	var l Loss
	for _, o := range objects {
		if err := o.loseNames(rng, &l); err != nil {
			return l, fmt.Errorf("losefs: names in a directory: %w", err)
		}
	}
	for _, o := range objects {
		if err := o.losePieces(rng, &l); err != nil {
			return l, fmt.Errorf("losefs: the content of a file: %w", err)
		}
	}
	return l, d.Settle()
}

// choice draws which of n things in a row are lost.
func choice(rng *rand.Rand, n int) func(i int) bool {
	cut := rng.IntN(n + 1)
	switch rng.IntN(5) {
	case 0:
		return func(int) bool { return false }
	case 1:
		return func(int) bool { return true }
	case 2:
		return func(i int) bool { return i >= cut }
	case 3:
		return func(i int) bool { return i < cut }
	default:
		return func(int) bool { return rng.IntN(2) == 0 }
	}
}

// loseNames takes back changes in a directory, from the newest on. One that is kept keeps those before it of the same names.
func (o *object) loseNames(rng *rand.Rand, l *Loss) error {
	lost := choice(rng, len(o.changes))
	kept := map[string]bool{}
	for i, c := range slices.Backward(o.changes) {
		l.Names++
		names := c.names()
		bound := slices.ContainsFunc(names, func(name string) bool { return kept[name] })
		if lost(i) && !bound {
			l.NamesLost++
			if err := o.undo(c); err != nil {
				return err
			}
			continue
		}
		for _, name := range names {
			kept[name] = true
		}
	}
	return nil
}

// undo takes back one change. What it leaves without a name goes to the trash, since there may be something below it to be taken back.
func (o *object) undo(c change) error {
	trash := int(o.disk.trash.Fd())
	switch {
	case c.from == "":
		_, err := o.discard(c.to)
		return err
	case c.to == "":
		return unix.Renameat(trash, c.trash, o.fd(), c.from)
	}
	err := unix.Renameat(o.fd(), c.to, o.fd(), c.from)
	if err == nil && c.trash != "" {
		err = unix.Renameat(trash, c.trash, o.fd(), c.to)
	}
	return err
}

// tear keeps the beginning or the end of what would be lost of a piece that is otherwise now.
func tear(rng *rand.Rand, piece, now []byte) {
	if at := 1 + rng.IntN(PieceBytes-1); rng.IntN(2) == 0 {
		copy(piece[:at], now)
	} else {
		copy(piece[at:], now[at:])
	}
}

// losePieces takes back what was written to a file.
func (o *object) losePieces(rng *rand.Rand, l *Loss) (err error) {
	var layers []*layer // from the newest on
	for _, x := range []*layer{o.fresh, o.passing, o.doomed} {
		if x != nil {
			layers = append(layers, x)
		}
	}
	if len(layers) == 0 {
		return nil
	}
	f, err := o.open(os.O_RDWR)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	all := map[int64][]byte{}
	least := min(o.kept, o.size)
	for _, x := range layers {
		least = min(least, x.low)
		maps.Copy(all, x.pieces)
	}
	numbers := slices.Sorted(maps.Keys(all))
	lost := choice(rng, len(numbers))
	for at, i := range numbers {
		l.Pieces++
		if !lost(at) {
			continue
		}
		var versions [][]byte // from the newest on
		for _, x := range layers {
			if old, ok := x.pieces[i]; ok {
				versions = append(versions, old)
			}
		}
		now, piece := make([]byte, PieceBytes), make([]byte, PieceBytes)
		if _, err := f.ReadAt(now, i*PieceBytes); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		copy(piece, versions[rng.IntN(len(versions))])
		torn := o.disk.o.Torn && rng.IntN(tornEvery) == 0
		if torn {
			tear(rng, piece, now)
		}
		if bytes.Equal(piece, now) {
			continue
		}
		if l.PiecesLost++; torn {
			l.PiecesTorn++
		}
		if _, err := f.WriteAt(piece, i*PieceBytes); err != nil {
			return err
		}
	}
	size := o.size
	switch rng.IntN(4) {
	case 0:
		size = o.kept
	case 1:
		size = least
	case 2:
		size = least + rng.Int64N(max(o.size, o.kept)-least+1)
	}
	if size != o.size {
		l.SizesLost++
	}
	return f.Truncate(size)
}
