package meteor

import (
	"archive/zip"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// The files of METEOR's data for English. All but the paraphrases lie in its jar.
const (
	functionFile   = "function/english.words"
	prefixFile     = "nonbreaking/english.prefixes"
	synsetFile     = "synonym/english.synsets"
	exceptionFile  = "synonym/english.exceptions"
	paraphraseFile = "paraphrase-en.gz"
)

// data is what METEOR knows of English. It does not change once it is read.
type data struct {
	function   map[string]bool
	prefixes   map[string]bool // of abbreviations; true: only before numbers
	bases      map[string][]string
	synsets    map[string][]int32
	paraphrase table
}

// MissingError says what a folder lacks.
type MissingError struct{ Dir, File string }

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s: no %s: METEOR's data is the folder pycocoevalcap/meteor of PyPI's pycocoevalcap 1.2 "+
		"(meteor-1.5.jar and data/%s)", e.Dir, e.File, paraphraseFile)
}

// load reads the data from a folder that holds meteor-1.5.jar, or what is in it
// as files, and paraphrase-en.gz, there or in data/. Of the paraphrases those are
// kept whose words keep says may come; nil keeps all.
func load(dir string, keep func(word []byte) bool) (*data, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, err
	}
	files, closer, err := resources(dir)
	if err != nil {
		return nil, err
	}
	defer closer()
	d := &data{function: map[string]bool{}, prefixes: map[string]bool{}, bases: map[string][]string{}, synsets: map[string][]int32{}}
	for _, f := range []struct {
		name string
		read func(*lines) error
	}{{functionFile, d.readFunction}, {prefixFile, d.readPrefixes}, {synsetFile, d.readSynsets}, {exceptionFile, d.readExceptions}} {
		if err := each(files, dir, f.name, f.read); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{paraphraseFile, "data/" + paraphraseFile} {
		f, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		defer f.Close()
		z, err := gzip.NewReader(bufio.NewReaderSize(f, 1<<18))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		ahead := readAhead(z)
		defer ahead.Close()
		if err := d.paraphrase.read(newLines(ahead), keep); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		return d, nil
	}
	return nil, &MissingError{dir, paraphraseFile}
}

// resources is the folder, or the jar in it.
func resources(dir string) (fs.FS, func(), error) {
	files := os.DirFS(dir)
	if _, err := fs.Stat(files, functionFile); err == nil {
		return files, func() {}, nil
	}
	jars, err := fs.Glob(files, "meteor-1.5*.jar")
	if err != nil || len(jars) == 0 {
		return nil, nil, &MissingError{dir, "meteor-1.5.jar or " + functionFile}
	}
	z, err := zip.OpenReader(filepath.Join(dir, jars[0]))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", filepath.Join(dir, jars[0]), err)
	}
	return z, func() { z.Close() }, nil
}

func each(files fs.FS, dir, name string, read func(*lines) error) error {
	f, err := files.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return &MissingError{dir, name}
	} else if err != nil {
		return err
	}
	defer f.Close()
	if err := read(newLines(f)); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(dir, name), err)
	}
	return nil
}

// ahead reads on another core what is asked for next.
type ahead struct {
	full  chan []byte
	free  chan []byte
	stop  chan struct{}
	chunk []byte // what is left of the one being given out
	whole []byte
	err   error
}

func readAhead(r io.Reader) *ahead {
	a := &ahead{full: make(chan []byte, 2), free: make(chan []byte, 3), stop: make(chan struct{})}
	for range cap(a.free) {
		a.free <- make([]byte, 1<<18)
	}
	go func() {
		defer close(a.full)
		for {
			var b []byte
			select {
			case b = <-a.free:
			case <-a.stop:
				return
			}
			n, err := io.ReadFull(r, b)
			if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
				a.err = err
			}
			select {
			case a.full <- b[:n]:
			case <-a.stop:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return a
}

func (a *ahead) Read(p []byte) (int, error) {
	for len(a.chunk) == 0 {
		if a.whole != nil {
			a.free <- a.whole[:cap(a.whole)]
			a.whole = nil
		}
		b, ok := <-a.full
		if !ok {
			if a.err != nil {
				return 0, a.err
			}
			return 0, io.EOF
		}
		a.chunk, a.whole = b, b
	}
	n := copy(p, a.chunk)
	a.chunk = a.chunk[n:]
	return n, nil
}

// Close ends the reading ahead.
func (a *ahead) Close() { close(a.stop) }

// lines reads lines; a line is good until the next one is read.
type lines struct {
	*bufio.Scanner
	n int
}

func newLines(r io.Reader) *lines {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 1<<16), 1<<20)
	return &lines{Scanner: s}
}

func (l *lines) next() bool {
	l.n++
	return l.Scan()
}

// second reads the other line of a pair.
func (l *lines) second(what string) error {
	if l.next() {
		return nil
	}
	if err := l.Err(); err != nil {
		return err
	}
	return fmt.Errorf("line %d: %s is missing, the file ends", l.n, what)
}

func (d *data) readFunction(l *lines) error {
	for l.next() {
		d.function[l.Text()] = true
	}
	return l.Err()
}

func (d *data) readPrefixes(l *lines) error {
	for l.next() {
		f := strings.Fields(l.Text())
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		d.prefixes[f[0]] = len(f) > 1 && f[1] == "#NUMERIC_ONLY#"
	}
	return l.Err()
}

func (d *data) readSynsets(l *lines) error {
	for l.next() {
		word := l.Text()
		if err := l.second("the numbers of synsets"); err != nil {
			return err
		}
		var set []int32
		for _, f := range strings.Fields(l.Text()) {
			id, err := strconv.ParseInt(f, 10, 32)
			if err != nil {
				return fmt.Errorf("line %d: %q is no number of a synset", l.n, f)
			}
			set = append(set, int32(id))
		}
		slices.Sort(set)
		d.synsets[word] = slices.Compact(set)
	}
	return l.Err()
}

func (d *data) readExceptions(l *lines) error {
	for l.next() {
		base := l.Text()
		if err := l.second("the forms of a word"); err != nil {
			return err
		}
		for _, form := range strings.Fields(l.Text()) {
			d.bases[form] = append(d.bases[form], base)
		}
	}
	return l.Err()
}

// synonyms are the synsets of a word and of its base.
func (d *data) synonyms(word string) []int32 {
	set := slices.Clone(d.synsets[word])
	if bases, ok := d.bases[word]; ok {
		for _, b := range bases {
			set = append(set, d.synsets[b]...)
		}
	} else {
		set = append(set, d.synsets[d.morph(word)]...)
	}
	slices.Sort(set)
	return slices.Compact(set)
}

// endings are WordNet's rules of detachment (its morphy), nouns', verbs' and
// adjectives'.
var endings = [...][2]string{
	{"s", ""}, {"ses", "s"}, {"xes", "x"}, {"zes", "z"}, {"ches", "ch"}, {"shes", "sh"}, {"men", "man"}, {"ies", "y"},
	{"s", ""}, {"ies", "y"}, {"es", "e"}, {"es", ""}, {"ed", "e"}, {"ed", ""}, {"ing", "e"}, {"ing", ""},
	{"er", ""}, {"est", ""}, {"er", "e"}, {"est", "e"},
}

func (d *data) morph(word string) string {
	if strings.HasSuffix(word, "ss") || utf16Length(word) <= 2 {
		return word
	}
	for _, e := range endings {
		if stem, ok := strings.CutSuffix(word, e[0]); ok {
			if _, known := d.synsets[stem+e[1]]; known {
				return stem + e[1]
			}
		}
	}
	return ""
}

func utf16Length(s string) (n int) {
	for _, r := range s {
		if n++; r > 0xFFFF {
			n++
		}
	}
	return n
}

// table holds phrases and their paraphrases, the phrases as paths from node 0.
type table struct {
	words map[string]int32
	next  map[uint64]int32 // by node and word
	ends  []chain          // by node
	after []int32          // by pair: the next pair of the same phrase; -1: none
	start []uint32         // by pair: where its paraphrase starts in text
	text  []int32
}

type chain struct{ first, last int32 }

func (t *table) read(l *lines, keep func([]byte) bool) error {
	*t = table{words: map[string]int32{}, next: map[uint64]int32{}, ends: []chain{{-1, -1}}}
	id := func(w []byte) (int32, bool) {
		if n, ok := t.words[string(w)]; ok {
			return n, n >= 0
		}
		if keep != nil && !keep(w) {
			return 0, false
		}
		n := int32(len(t.words))
		t.words[string(w)] = n
		return n, true
	}
	// numbers appends those of a line's words.
	numbers := func(to []int32, line []byte) ([]int32, bool) {
		for i := 0; ; {
			for i < len(line) && javaSpace(rune(line[i])) {
				i++
			}
			from := i
			for i < len(line) && !javaSpace(rune(line[i])) {
				i++
			}
			if i == from {
				return to, true
			}
			n, ok := id(line[from:i])
			if !ok {
				return to, false
			}
			to = append(to, n)
		}
	}
	var phrase []int32
	for l.next() { // the probability, which METEOR does not use
		if err := l.second("a phrase"); err != nil {
			return err
		}
		var known, also bool
		phrase, known = numbers(phrase[:0], l.Bytes())
		if err := l.second("a paraphrase"); err != nil {
			return err
		}
		if !known {
			continue
		}
		from := len(t.text)
		if t.text, also = numbers(t.text, l.Bytes()); !also {
			t.text = t.text[:from]
			continue
		}
		node := int32(0)
		for _, w := range phrase {
			key := uint64(node)<<32 | uint64(w)
			to, ok := t.next[key]
			if !ok {
				to = int32(len(t.ends))
				t.next[key], t.ends = to, append(t.ends, chain{-1, -1})
			}
			node = to
		}
		pair := int32(len(t.start))
		t.start, t.after = append(t.start, uint32(from)), append(t.after, -1)
		if e := &t.ends[node]; e.last < 0 {
			e.first, e.last = pair, pair
		} else {
			t.after[e.last], e.last = pair, pair
		}
	}
	return l.Err()
}

// paraphrases calls f with each paraphrase of each phrase that words begin with,
// the shortest phrase first, its paraphrases in the file's order.
func (t *table) paraphrases(words []int32, f func(length int, paraphrase []int32)) {
	node := int32(0)
	for i, w := range words {
		if w < 0 {
			return
		}
		var ok bool
		if node, ok = t.next[uint64(node)<<32|uint64(w)]; !ok {
			return
		}
		for p := t.ends[node].first; p >= 0; p = t.after[p] {
			end := uint32(len(t.text))
			if int(p)+1 < len(t.start) {
				end = t.start[p+1]
			}
			f(i+1, t.text[t.start[p]:end])
		}
	}
}
