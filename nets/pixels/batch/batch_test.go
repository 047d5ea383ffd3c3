package batch

import (
	"bytes"
	"context"
	"fmt"
	"image/color"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"parley/nets/pixels"
)

// png is a small picture that can be told from others.
func png(t testing.TB, i int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := pixels.New(4, 4, color.RGBA{uint8(i), uint8(i >> 8), 7, 255}).EncodePNG(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestSources(t *testing.T) {
	t.Chdir(t.TempDir())
	for i, name := range []string{"a.png", "b [1].jpg", "@2x.png", "pics/2.PNG", "pics/10.webp", "pics/.hidden.png", "pics/notes.txt",
		"pics/deep/3.gif", "empty/none.txt", "odd\xff.png"} {
		write(t, name, png(t, i))
	}
	if err := os.MkdirAll("upper/pics", 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../..", "pics/deep/circle"); err != nil {
		t.Skip(err)
	}
	write(t, "marked.txt", []byte("\uFEFFa.png\npics"))
	write(t, "list.txt", []byte("a.png\r\n\npics\n@2x.png\n'quoted'\n"))
	write(t, "nuls.txt", []byte("a.png\x00new\nline.png\x00"))
	write(t, "binary.txt", bytes.Repeat([]byte("x"), 1<<17))
	for _, c := range []struct {
		args      string
		recursive bool
		stdin     string
		want      string
	}{
		{"a.png|b [1].jpg|@2x.png|missing.png", false, "", "a.png|b [1].jpg|@2x.png|missing.png"},
		{"pics", false, "", "pics/10.webp|pics/2.PNG"},
		{"pics", true, "", "pics/10.webp|pics/2.PNG|pics/deep/3.gif"},
		{"empty|a.png", false, "", "empty: no pictures|a.png"},
		{"upper", false, "", "upper: no pictures in this folder (.png, .jpg, .webp, .gif, .bmp, .tif); its folders are read with --recursive"},
		{"p*|*.png", false, "", "p*: no file|@2x.png|a.png|odd\xff.png"},
		{"**/*.gif", false, "", "pics/deep/3.gif"},
		{"{a,zz}.png", false, "", "a.png"},
		{"[", false, "", "[: no file matches: syntax error"},
		{"@list.txt", false, "", "a.png|pics/10.webp|pics/2.PNG|@2x.png|'quoted'"},
		{"@marked.txt", false, "", "a.png|pics/10.webp|pics/2.PNG"},
		{"@nuls.txt", false, "", "a.png|new\nline.png"},
		{"@missing.txt", false, "", "@missing.txt: open missing.txt: no such file"},
		{"@binary.txt", false, "", "binary.txt: name 1 has more than 65536 bytes"},
		{"-", false, "a.png\nb [1].jpg\n", "a.png|b [1].jpg"},
		{"@-", false, "BMW.png\x00", "BMW.png"},
		{"-", false, "BMW.png", "BMW.png"},
		{"-", false, "icns.png\nP6.png\n", "icns.png|P6.png"},
		{"-", false, "\x00\x00\x00\x14ftypheic\x00\x00\x00\x00mif1", "-"},
		{"-", false, "", "-: standard input: nothing in it"},
		{"-", false, string(png(t, 1)), "-"},
	} {
		var have []string
		for s := range (Find{Recursive: c.recursive, Stdin: strings.NewReader(c.stdin)}).Sources(strings.Split(c.args, "|")) {
			if text := s.Name; s.Err == nil {
				have = append(have, text)
			} else {
				have = append(have, s.Name+": "+strings.TrimPrefix(s.Err.Error(), s.Name+": "))
			}
		}
		ok := len(have) == len(strings.Split(c.want, "|"))
		for i, w := range strings.Split(c.want, "|") {
			if ok {
				ok = strings.HasPrefix(have[i], w) && (strings.Contains(w, ": ") || have[i] == w)
			}
		}
		if !ok {
			t.Errorf("%q: have %q, want %q", c.args, have, c.want)
		}
	}
	for s := range (Find{Stdin: bytes.NewReader(png(t, 1))}).Sources([]string{"-"}) {
		if m, err := s.Read(); err != nil || m.Pix[0] != 1 {
			t.Errorf("the picture of the standard input: %v", err)
		}
	}
}

// TestGroups: pictures come in order, those that cannot be read in their place.
func TestGroups(t *testing.T) {
	dir := t.TempDir()
	var names []string
	for i := range 100 {
		names = append(names, filepath.Join(dir, fmt.Sprintf("%d.png", i)))
		data := png(t, i)
		if i%10 == 3 {
			data = []byte("not a picture")
		}
		write(t, names[i], data)
	}
	n := 0
	for items := range Groups(t.Context(), Find{}.Sources(names), 16) {
		if len(items) > 16 || len(items) < 16 && n+len(items) < len(names) {
			t.Errorf("a group of %d", len(items))
		}
		for _, item := range items {
			if bad := n%10 == 3; item.Name != names[n] || bad != (item.Err != nil) || !bad && item.Picture.Pix[0] != uint8(n) {
				t.Fatalf("picture %d is %s, %v", n, item.Name, item.Err)
			}
			n++
		}
	}
	if n != len(names) {
		t.Errorf("%d pictures of %d", n, len(names))
	}
	// It ends when nobody takes more, and when it is stopped, also while it waits
	// for a name.
	for range Groups(t.Context(), Find{}.Sources(names), 1) {
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	silent, w := io.Pipe()
	defer w.Close()
	for range Groups(ctx, Find{Stdin: silent}.Sources([]string{"-"}), 16) {
		t.Error("a picture out of nothing")
	}
}

// TestGroupsMemory: large pictures are handed on in small groups, and few are
// decoded ahead.
func TestGroupsMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "large.png")
	var b bytes.Buffer
	const side = 2000 // 12 MB of pixels
	if err := pixels.New(side, side, color.RGBA{1, 2, 3, 255}).EncodePNG(&b); err != nil {
		t.Fatal(err)
	}
	write(t, path, b.Bytes())
	most := uint64(0)
	for items := range Groups(t.Context(), Find{}.Sources(slices.Repeat([]string{path}, 20)), 16) {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapAlloc)
		if len(items) > groupBytes/(3*side*side)+1 {
			t.Errorf("a group of %d", len(items))
		}
	}
	// A group, what is ahead of it, and what the decoders have in hand, which take
	// some times a picture's bytes.
	if limit := uint64(groupBytes + aheadBytes + (2+8*decoders)*3*side*side); most > limit {
		t.Errorf("%d MB, want %d at most", most>>20, limit>>20)
	}
}

// TestThousands: time grows with the number of pictures, memory and open files do
// not.
func TestThousands(t *testing.T) {
	dir := t.TempDir()
	for i := range 4000 {
		path := filepath.Join(dir, fmt.Sprintf("%05d.png", i))
		if i < 251 {
			write(t, path, png(t, i))
		} else if err := os.Link(filepath.Join(dir, fmt.Sprintf("%05d.png", i%251)), path); err != nil {
			t.Skip(err)
		}
	}
	one := func(n int) (took time.Duration, heap uint64, files int) {
		args := make([]string, n)
		for i := range args {
			args[i] = filepath.Join(dir, fmt.Sprintf("%05d.png", i))
		}
		runtime.GC()
		start, seen := time.Now(), 0
		for items := range Groups(t.Context(), Find{}.Sources(args), 16) {
			for _, item := range items {
				if item.Err != nil || int(item.Picture.Pix[0]) != seen%251 {
					t.Fatalf("picture %d: %s, %v", seen, item.Name, item.Err)
				}
				seen++
			}
		}
		took = time.Since(start)
		if seen != n {
			t.Fatalf("%d pictures of %d", seen, n)
		}
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		list, _ := os.ReadDir("/proc/self/fd") // none where there is no /proc
		return took, m.HeapAlloc, len(list)
	}
	one(200) // what is made once
	a, heapA, filesA := one(1000)
	b, heapB, filesB := one(4000)
	t.Logf("1,000: %v, %d KB, %d files; 4,000: %v, %d KB, %d files", a, heapA>>10, filesA, b, heapB>>10, filesB)
	for range 8 { // others use the machine, too: the quickest counts
		if b <= 4*a*5/2 {
			break
		}
		again, _, _ := one(1000)
		more, _, _ := one(4000)
		a, b = min(a, again), min(b, more)
	}
	if b > 4*a*5/2 {
		t.Errorf("4,000 pictures take %v, 1,000 take %v", b, a)
	}
	if heapB > heapA+1<<20 {
		t.Errorf("%d KB behind 4,000 pictures, %d KB behind 1,000", heapB>>10, heapA>>10)
	}
	if filesB > filesA+2 {
		t.Errorf("%d open files behind 4,000 pictures, %d behind 1,000", filesB, filesA)
	}
}

// TestBudget: as long as what was decoded and not handed on takes all that it may, no
// more is decoded.
func TestBudget(t *testing.T) {
	b := newBudget()
	if !b.wait() {
		t.Fatal("nothing may be decoded")
	}
	b.take(aheadBytes)
	goOn := make(chan bool)
	for _, last := range []bool{false, true} {
		go func() { goOn <- b.wait() }()
		select {
		case <-goOn:
			t.Fatal("more is decoded than the memory takes")
		case <-time.After(50 * time.Millisecond):
		}
		if last {
			b.close()
		} else {
			b.give(1)
		}
		if have := <-goOn; have == last {
			t.Errorf("closed %v: go on %v", last, have)
		}
		b.take(1)
	}
}
