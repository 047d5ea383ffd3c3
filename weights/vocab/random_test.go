package vocab

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

// splitMix is the generator of testdata/random_texts.py.
type splitMix uint64

func (s *splitMix) next(n int) int {
	*s += 0x9e3779b97f4a7c15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return int((z ^ z>>31) % uint64(n))
}

type randomTexts struct {
	Pools [][2]int
	Parts []string
	Size  int
	CLIP  []string `json:"clip"`
	BERT  []string `json:"bert"`
}

func (t *randomTexts) text(i int) string {
	r := splitMix(i)
	kind, n, pool := r.next(4), 1+r.next(24), t.Pools[r.next(len(t.Pools))]
	var out strings.Builder
	for range n {
		switch {
		case kind == 1 || kind == 2 && r.next(2) == 1:
			pool = t.Pools[r.next(len(t.Pools))]
		case kind == 2:
			out.WriteString(t.Parts[r.next(len(t.Parts))])
			continue
		case kind == 3:
			pool = [2]int{0, 0x10ffff}
		}
		if c := pool[0] + r.next(pool[1]-pool[0]+1); c < 0xd800 || c > 0xdfff {
			out.WriteRune(rune(c))
		}
	}
	return out.String()
}

// TestRandomTexts: the ids of 100,000 texts of all planes and mixed scripts are
// transformers', by a digest of each thousand.
func TestRandomTexts(t *testing.T) {
	data, err := os.ReadFile("testdata/random_texts.json")
	if err != nil {
		t.Fatal(err)
	}
	var g randomTexts
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	c, b := both(t)
	if len(g.CLIP)*g.Size < 100_000 || len(g.BERT) != len(g.CLIP) {
		t.Fatalf("%d blocks of %d texts", len(g.CLIP), g.Size)
	}
	for block := range g.CLIP {
		sums := [2]uint64{0xcbf29ce484222325, 0xcbf29ce484222325}
		for i := block * g.Size; i < (block+1)*g.Size; i++ {
			text := g.text(i)
			for k, ids := range [2][]int32{c.Encode(text, 0), b.Encode(text)} {
				for _, id := range append(ids, -1) {
					sums[k] = (sums[k] ^ uint64(int64(id))) * 0x100000001b3
				}
			}
		}
		for k, want := range [2]string{g.CLIP[block], g.BERT[block]} {
			if have := fmt.Sprintf("%016x", sums[k]); have != want {
				t.Errorf("block %d, %s: digest %s, want %s (python testdata/random_texts.py %d has its texts and ids)",
					block, [2]string{"CLIP", "BERT"}[k], have, want, block)
			}
		}
	}
}
