package fsm

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
	"math/bits"
	"sync/atomic"
)

// The pages of a bbolt database, read here without bbolt: its own reader follows
// a damaged page pointer around a circle until the stack is full, which no
// recover catches, and takes a page that was freed long ago for a live one,
// whose old records have good checksums. This one bounds every step and refuses
// freed pages. bbolt alone writes.
//
// Every page, integers little-endian:
//
//	offset  bytes
//	     0      8  id: its number, so its place is id * 4096
//	     8      2  kind: 1 branch, 2 leaf, 4 meta, 16 freelist
//	    10      2  count of elements
//	    12      4  overflow: pages that follow and belong to it
//
// then the elements, then the keys and values they point to, without a gap and
// in their order. A branch's element:
//
//	0      4  position of the key, from this element's start
//	4      4  length of the key, the least in the child
//	8      8  page id of the child
//
// A leaf's:
//
//	 0      4  kind: 1 if the value is a bucket
//	 4      4  position of the key, from this element's start; the value follows it
//	 8      4  length of the key
//	12      4  length of the value
//
// A bucket's value: 8 bytes page id of its root, or 0 and then the root, a leaf,
// itself after 8 bytes of sequence number. A freelist's elements are the ids of
// the free pages, 8 bytes each, in ascending order; if its count is 0xffff, the
// first is the count.
const (
	pageBytes        = 4096
	pageHeaderBytes  = 16
	elementBytes     = 16
	branchPage       = 1
	leafPage         = 2
	metaPage         = 4
	freelistPage     = 16
	bucketElement    = 1
	bucketHeader     = 16
	firstDataPage    = 2
	freelistOverflow = 0xffff
)

// A meta page, after the page header; the valid one with the greater transaction
// is the database:
//
//	 0      4  magic
//	 4      4  version: 2
//	 8      4  page size
//	12      4  flags
//	16     16  root bucket's header
//	32      8  page id of the freelist
//	40      8  pages: one more than the greatest id
//	48      8  transaction id
//	56      8  FNV-1a of the 56 bytes before
const (
	metaMagic   = 0xED0CDAED
	metaVersion = 2
	metaBytes   = 64
)

// boltMeta is a valid meta page.
type boltMeta struct {
	root     uint64
	freelist uint64
	pages    uint64
	txid     uint64
}

// parseMeta returns the meta page p, and whether it is valid.
func parseMeta(p []byte) (boltMeta, bool) {
	if len(p) < pageHeaderBytes+metaBytes {
		return boltMeta{}, false
	}
	m := p[pageHeaderBytes:]
	h := fnv.New64a()
	_, _ = h.Write(m[:56])
	if binary.LittleEndian.Uint32(m) != metaMagic ||
		binary.LittleEndian.Uint32(m[4:]) != metaVersion ||
		binary.LittleEndian.Uint32(m[8:]) != pageBytes ||
		binary.LittleEndian.Uint64(m[56:]) != h.Sum64() {
		return boltMeta{}, false
	}
	return boltMeta{
		root:     binary.LittleEndian.Uint64(m[16:]),
		freelist: binary.LittleEndian.Uint64(m[32:]),
		pages:    binary.LittleEndian.Uint64(m[40:]),
		txid:     binary.LittleEndian.Uint64(m[48:]),
	}, true
}

// put makes page, of zeros, the meta page id. What it leaves out, the flags and
// the root bucket's sequence, is zero in every database of ours.
func (m *boltMeta) put(page []byte, id uint64) {
	binary.LittleEndian.PutUint64(page, id)
	binary.LittleEndian.PutUint16(page[8:], metaPage)
	p := page[pageHeaderBytes:]
	binary.LittleEndian.PutUint32(p, metaMagic)
	binary.LittleEndian.PutUint32(p[4:], metaVersion)
	binary.LittleEndian.PutUint32(p[8:], pageBytes)
	binary.LittleEndian.PutUint64(p[16:], m.root)
	binary.LittleEndian.PutUint64(p[32:], m.freelist)
	binary.LittleEndian.PutUint64(p[40:], m.pages)
	binary.LittleEndian.PutUint64(p[48:], m.txid)
	h := fnv.New64a()
	_, _ = h.Write(p[:56])
	binary.LittleEndian.PutUint64(p[56:], h.Sum64())
}

// pages are the pages of one committed transaction. They never change while the
// transaction is pinned. Safe for concurrent use.
type pages struct {
	mem  []byte // the database up to its last page
	free []uint64
	meta boltMeta
	// verified has a bit for each page that a reader went over as a whole: a
	// search within a page that is out of order would miss what is there. Set by
	// any reader, with atomic operations.
	verified []uint64
	// freelist is the header of the freelist's page when the transaction began.
	freelist [pageHeaderBytes]byte
}

// seen tells whether a reader went over page id. Of an inline bucket, 0, nobody remembers it.
func (p *pages) seen(id uint64) bool {
	return id != 0 && atomic.LoadUint64(&p.verified[id/64])&(1<<(id%64)) != 0
}

// newPages reads the transaction txid in mem, the mapped database.
func newPages(mem []byte, txid uint64) (*pages, error) {
	p := &pages{}
	found := false
	for i := range 2 {
		if len(mem) < (i+1)*pageBytes {
			return nil, damaged("the file is shorter than its meta pages")
		}
		if m, ok := parseMeta(mem[i*pageBytes : (i+1)*pageBytes]); ok && m.txid == txid {
			p.meta, found = m, true
		}
	}
	if !found {
		return nil, damaged("no meta page of transaction %d", txid)
	}
	if p.meta.pages < firstDataPage || p.meta.pages > uint64(len(mem)/pageBytes) {
		return nil, damaged("the file is shorter than its %d pages", p.meta.pages)
	}
	p.mem = mem[:p.meta.pages*pageBytes]
	ids, err := p.freeIDs()
	if err != nil {
		return nil, err
	}
	copy(p.freelist[:], p.mem[p.meta.freelist*pageBytes:])
	p.free = make([]uint64, (p.meta.pages+63)/64)
	p.verified = make([]uint64, len(p.free))
	for ; len(ids) > 0; ids = ids[8:] {
		id := binary.LittleEndian.Uint64(ids)
		p.free[id/64] |= 1 << (id % 64)
	}
	return p, nil
}

// verifyMetas checks both meta pages. A flush may be writing one of them.
func (p *pages) verifyMetas() error {
	var valid [2]bool
	for i := range valid {
		_, valid[i] = parseMeta(p.mem[i*pageBytes : (i+1)*pageBytes])
	}
	if !valid[0] || !valid[1] {
		return damaged("a meta page is not valid (page 0: %v, page 1: %v)", valid[0], valid[1])
	}
	return nil
}

// freeIDs returns the freelist, 8 bytes an id, once it was checked: ascending,
// in bounds, and not naming itself.
func (p *pages) freeIDs() ([]byte, error) {
	page, err := p.page(p.meta.freelist)
	if err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint16(page[8:]) != freelistPage {
		return nil, damaged("page %d: is no freelist", p.meta.freelist)
	}
	n := uint64(binary.LittleEndian.Uint16(page[10:]))
	ids := page[pageHeaderBytes:]
	if n == freelistOverflow {
		n = binary.LittleEndian.Uint64(ids)
		ids = ids[8:]
	}
	if n > uint64(len(ids)/8) {
		return nil, damaged("freelist on page %d: %d ids do not fit it", p.meta.freelist, n)
	}
	ids = ids[:n*8]
	own := uint64(len(page) / pageBytes)
	before := uint64(firstDataPage - 1)
	for i := uint64(0); i < n; i++ {
		id := binary.LittleEndian.Uint64(ids[i*8:])
		if id <= before || id >= p.meta.pages || id >= p.meta.freelist && id < p.meta.freelist+own {
			return nil, damaged("freelist on page %d: id %d after %d of %d pages", p.meta.freelist, id, before, p.meta.pages)
		}
		before = id
	}
	return ids, nil
}

func (p *pages) isFree(id uint64) bool {
	return p.free != nil && p.free[id/64]&(1<<(id%64)) != 0
}

// freeCount is how many pages are free.
func (p *pages) freeCount() int {
	n := 0
	for _, w := range p.free {
		n += bits.OnesCount64(w)
	}
	return n
}

// page returns the page id with its overflow, its header checked.
func (p *pages) page(id uint64) ([]byte, error) {
	if id < firstDataPage || id >= p.meta.pages {
		return nil, damaged("page %d: not among the %d there are", id, p.meta.pages)
	}
	if p.isFree(id) {
		return nil, damaged("page %d: in use and free", id)
	}
	page := p.mem[id*pageBytes:]
	if got := binary.LittleEndian.Uint64(page); got != id {
		return nil, damaged("page %d: says it is page %d", id, got)
	}
	n := (uint64(binary.LittleEndian.Uint32(page[12:])) + 1) * pageBytes
	if n > uint64(len(page)) {
		return nil, damaged("page %d: overflows the %d pages there are", id, p.meta.pages)
	}
	return page[:n:n], nil
}

// node is a branch or a leaf page.
type node struct {
	b      []byte // from its header to the end of its overflow
	n      int
	isLeaf bool
}

// node returns the branch or leaf page id.
func (p *pages) node(id uint64) (node, error) {
	page, err := p.page(id)
	if err != nil {
		return node{}, err
	}
	return parseNode(page)
}

// parseNode checks the header of page against the place of the first key, which
// depends on the count: so a damaged count hides no element.
func parseNode(page []byte) (node, error) {
	if len(page) < pageHeaderBytes {
		return node{}, damaged("bucket's page: %d bytes", len(page))
	}
	id := binary.LittleEndian.Uint64(page)
	kind := binary.LittleEndian.Uint16(page[8:])
	n := node{b: page, n: int(binary.LittleEndian.Uint16(page[10:])), isLeaf: kind == leafPage}
	if kind != leafPage && (kind != branchPage || n.n == 0) {
		return node{}, damaged("page %d: kind %d with %d elements where a branch or leaf should be", id, kind, n.n)
	}
	elements := elementBytes * n.n
	if pageHeaderBytes+elements > len(page) {
		return node{}, damaged("page %d: %d elements do not fit it", id, n.n)
	}
	if n.n > 0 && n.position(0) != elements {
		return node{}, damaged("page %d: %d elements, but the first key is at %d", id, n.n, n.position(0))
	}
	return n, nil
}

func (n node) id() uint64 { return binary.LittleEndian.Uint64(n.b) }

func (n node) element(i int) []byte {
	at := pageHeaderBytes + elementBytes*i
	return n.b[at : at+elementBytes]
}

func (n node) position(i int) int {
	if n.isLeaf {
		return int(binary.LittleEndian.Uint32(n.element(i)[4:]))
	}
	return int(binary.LittleEndian.Uint32(n.element(i)))
}

// cut returns n bytes at position from of element i.
func (n node) cut(i, from, size int) ([]byte, error) {
	at := pageHeaderBytes + elementBytes*i + from
	if at+size > len(n.b) {
		return nil, n.beyond(i)
	}
	return n.b[at : at+size : at+size], nil
}

func (n node) beyond(i int) error { return damaged("page %d: element %d is out of it", n.id(), i) }

// keyAt is where an element has the position of its key, and behind that the length.
func (n node) keyAt() int {
	if n.isLeaf {
		return 4
	}
	return 0
}

// key returns the key of element i.
func (n node) key(i int) ([]byte, error) {
	e := n.element(i)[n.keyAt():]
	return n.cut(i, int(binary.LittleEndian.Uint32(e)), int(binary.LittleEndian.Uint32(e[4:])))
}

// value returns the value of a leaf's element i, and whether it is a bucket.
func (n node) value(i int) (v []byte, isBucket bool, err error) {
	e := n.element(i)
	v, err = n.cut(i, int(binary.LittleEndian.Uint32(e[4:]))+int(binary.LittleEndian.Uint32(e[8:])),
		int(binary.LittleEndian.Uint32(e[12:])))
	return v, binary.LittleEndian.Uint32(e) == bucketElement, err
}

// child returns the page that a branch's element i points to.
func (n node) child(i int) uint64 { return binary.LittleEndian.Uint64(n.element(i)[8:]) }

// search returns the first element whose key is not below key, and whether it is
// key.
func (n node) search(key []byte) (at int, exact bool, err error) {
	lo, hi := 0, n.n
	keyAt := pageHeaderBytes + n.keyAt()
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		// Spelled out, here and in verify: this is most of what a read and a put do with a page.
		e := n.b[keyAt+elementBytes*mid:]
		from := pageHeaderBytes + elementBytes*mid + int(binary.LittleEndian.Uint32(e))
		end := from + int(binary.LittleEndian.Uint32(e[4:]))
		if end > len(n.b) {
			return 0, false, n.beyond(mid)
		}
		switch c := bytes.Compare(n.b[from:end], key); {
		case c == 0:
			return mid, true, nil
		case c < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return lo, false, nil
}

// descend returns which child of a branch may hold key: the last whose least key
// is not above it, or the first.
func (n node) descend(key []byte) (int, error) {
	i, exact, err := n.search(key)
	if !exact && i > 0 {
		i--
	}
	return i, err
}

// verify checks all of a page: keys from lo up to hi and ascending, elements one
// after the other without a gap, and as many pages as they need. hi nil: no end.
// The elements of leaves are buckets if in is names, and none is otherwise.
func (n node) verify(in bucket, lo, hi []byte) error {
	if err := n.layout(in, true); err != nil {
		return err
	}
	return n.within(lo, hi)
}

// layout is verify without the keys' bounds, and unless ascending without a look at keys.
func (n node) layout(in bucket, ascending bool) error {
	at := pageHeaderBytes + elementBytes*n.n
	keyAt := n.keyAt()
	var kind uint32
	if in == names {
		kind = bucketElement
	}
	var before []byte
	for i := range n.n {
		from := pageHeaderBytes + elementBytes*i
		e := n.b[from : from+elementBytes]
		if from+int(binary.LittleEndian.Uint32(e[keyAt:])) != at {
			return damaged("page %d: element %d is not where the one before ends", n.id(), i)
		}
		keyEnd := at + int(binary.LittleEndian.Uint32(e[keyAt+4:]))
		end := keyEnd
		if n.isLeaf {
			end += int(binary.LittleEndian.Uint32(e[12:]))
			if binary.LittleEndian.Uint32(e) != kind {
				return damaged("page %d: element %d is a bucket where none should be, or none where one should", n.id(), i)
			}
		}
		if end > len(n.b) {
			return n.beyond(i)
		}
		if keyEnd == at || ascending && bytes.Compare(before, n.b[at:keyEnd]) >= 0 {
			return damaged("page %d: element %d is out of order", n.id(), i)
		}
		before, at = n.b[at:keyEnd], end
	}
	want := at
	if n.id() != 0 { // else it lies in a bucket's value, which is as long as needed
		want = (at + pageBytes - 1) / pageBytes * pageBytes
	}
	if want != len(n.b) {
		return damaged("page %d: %d bytes for elements that end at %d", n.id(), len(n.b), at)
	}
	return nil
}

// within checks that the page's first key is lo, as the page above says, and the
// last is below hi; in between they ascend. lo nil: there is no page above.
func (n node) within(lo, hi []byte) error {
	if n.n == 0 {
		return nil
	}
	first, err := n.key(0)
	if err != nil {
		return err
	}
	last, err := n.key(n.n - 1)
	if err != nil {
		return err
	}
	if lo != nil && !bytes.Equal(first, lo) || hi != nil && bytes.Compare(last, hi) >= 0 {
		return damaged("page %d: keys are outside of what the page above says", n.id())
	}
	return nil
}
