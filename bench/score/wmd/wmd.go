// Package wmd is the word mover's distance (Kusner et al., "From word embeddings
// to document distances", 2015): the least that has to be moved, times how far,
// to make one caption's words the other's.
package wmd

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
)

// ErrNoWords says that a caption has no word with a vector.
var ErrNoWords = errors.New("no word of a caption has a vector")

// MaxWords is the most different words of a caption: moving them takes more
// than their square.
const MaxWords = 2000

// Vectors are those of words.
type Vectors struct {
	dim   int
	words map[string][]float32
}

// Open reads vectors in word2vec's text format, with or without its first line
// ("count size"), as GloVe's are; a name in .gz is unpacked. Only the words that keep
// wants are kept; nil keeps all.
func Open(path string, keep func(word string) bool) (*Vectors, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	v, err := read(r, keep)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

func read(r io.Reader, keep func(string) bool) (*Vectors, error) {
	v := &Vectors{words: map[string][]float32{}}
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 1<<16), 1<<22)
	n := 1
	for ; s.Scan(); n++ {
		line := bytes.TrimRight(s.Bytes(), " \r")
		if len(line) == 0 {
			continue
		}
		if n == 1 {
			head := bytes.Fields(line)
			if v.dim = len(head) - 1; v.dim == 1 {
				_, err1 := strconv.ParseUint(string(head[0]), 10, 63)
				d, err2 := strconv.ParseUint(string(head[1]), 10, 31)
				if err1 == nil && err2 == nil && d > 0 {
					v.dim = int(d)
					continue
				}
			}
		}
		// A few of GloVe's words hold spaces: the vector is taken from the end.
		cut := len(line)
		for range v.dim {
			if cut = bytes.LastIndexByte(line[:max(cut, 0)], ' '); cut < 0 {
				break
			}
		}
		if cut <= 0 || v.dim < 1 {
			return nil, fmt.Errorf("line %d: want a word and %d values", n, max(v.dim, 1))
		}
		word, rest := line[:cut], line[cut+1:]
		if keep != nil && !keep(string(word)) {
			continue
		}
		vector, err := numbers(rest, v.dim)
		if err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", n, word, err)
		}
		if _, ok := v.words[string(word)]; !ok { // the first one counts
			v.words[string(word)] = vector
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", n, err)
	}
	if v.dim < 1 {
		return nil, errors.New("no vectors")
	}
	return v, nil
}

func numbers(line []byte, dim int) ([]float32, error) {
	out := make([]float32, 0, min(dim, len(line)/2+1))
	for f := range bytes.FieldsSeq(line) {
		x, err := strconv.ParseFloat(string(f), 32)
		if err != nil || math.IsInf(x, 0) || math.IsNaN(x) {
			return nil, fmt.Errorf("%q is no number", f)
		}
		if len(out) == dim {
			return nil, fmt.Errorf("more than %d values", dim)
		}
		out = append(out, float32(x))
	}
	if len(out) != dim {
		return nil, fmt.Errorf("%d values, want %d", len(out), dim)
	}
	return out, nil
}

// Normalize makes all vectors unit vectors, as gensim does by default.
func (v *Vectors) Normalize() {
	for _, x := range v.words {
		sum := 0.0
		for _, y := range x {
			sum += float64(y) * float64(y)
		}
		for i := range x {
			if sum > 0 {
				x[i] = float32(float64(x[i]) / math.Sqrt(sum))
			}
		}
	}
}

// Distance is the word mover's distance of two lists of words. Words without a
// vector are left out; ErrNoWords where no other is there.
func (v *Vectors) Distance(a, b []string) (float64, error) {
	wa, na, ta := v.count(a)
	wb, nb, tb := v.count(b)
	if ta == 0 || tb == 0 {
		return 0, ErrNoWords
	}
	if most := max(len(wa), len(wb)); most > MaxWords {
		return 0, fmt.Errorf("%d different words, at most %d are moved", most, MaxWords)
	}
	// In units of 1/(ta tb) all masses are whole.
	for i := range na {
		na[i] *= tb
	}
	for j := range nb {
		nb[j] *= ta
	}
	cost := make([][]float64, len(wa))
	for i, x := range wa {
		cost[i] = make([]float64, len(wb))
		for j, y := range wb {
			sum := 0.0
			for k := range x {
				d := float64(x[k]) - float64(y[k])
				sum += d * d
			}
			cost[i][j] = math.Sqrt(sum)
		}
	}
	return transport(cost, na, nb) / (float64(ta) * float64(tb)), nil
}

// count is the different words' vectors, how often each is there, and how many
// there are in all.
func (v *Vectors) count(words []string) (vectors [][]float32, n []int64, total int64) {
	at := map[string]int{}
	for _, w := range words {
		x, ok := v.words[w]
		if !ok {
			continue
		}
		i, ok := at[w]
		if !ok {
			i = len(vectors)
			at[w], vectors, n = i, append(vectors, x), append(n, 0)
		}
		n[i]++
		total++
	}
	return vectors, n, total
}

// transport is the least cost of moving supply to demand, whose sums are equal,
// by successive shortest paths with potentials (Edmonds and Karp, 1972): exact,
// as the masses are whole.
func transport(cost [][]float64, supply, demand []int64) float64 {
	n, m := len(supply), len(demand)
	flow := make([][]int64, n)
	for i := range flow {
		flow[i] = make([]int64, m)
	}
	left, need := slices.Clone(supply), slices.Clone(demand)
	// Nodes are the supplies, then the demands.
	potential, distance := make([]float64, n+m), make([]float64, n+m)
	from, done := make([]int, n+m), make([]bool, n+m)
	for {
		open := false
		for i := range distance {
			distance[i], from[i], done[i] = math.Inf(1), -1, false
			if i < n && left[i] > 0 {
				distance[i], open = 0, true
			}
		}
		if !open {
			break
		}
		// Dijkstra over the dense graph, until the nearest demand that is open.
		end := -1
		for {
			u := -1
			for i := range distance {
				if !done[i] && !math.IsInf(distance[i], 1) && (u < 0 || distance[i] < distance[u]) {
					u = i
				}
			}
			if u < 0 {
				break
			}
			done[u] = true
			if u >= n && need[u-n] > 0 {
				end = u
				break
			}
			relax := func(w int, c float64) {
				if d := distance[u] + max(0, c+potential[u]-potential[w]); !done[w] && d < distance[w] {
					distance[w], from[w] = d, u
				}
			}
			if u < n {
				for j := range m {
					relax(n+j, cost[u][j])
				}
			} else {
				for i := range n {
					if flow[i][u-n] > 0 {
						relax(i, -cost[i][u-n])
					}
				}
			}
		}
		if end < 0 {
			panic("wmd: supply and demand differ") // Distance makes them equal
		}
		for i := range potential {
			potential[i] += min(distance[i], distance[end])
		}
		amount, start := need[end-n], end
		for w := end; from[w] >= 0; w = from[w] {
			if w < n { // back along a flow
				amount = min(amount, flow[w][from[w]-n])
			}
			start = from[w]
		}
		amount = min(amount, left[start])
		for w := end; from[w] >= 0; w = from[w] {
			if w >= n {
				flow[from[w]][w-n] += amount
			} else {
				flow[w][from[w]-n] -= amount
			}
		}
		left[start] -= amount
		need[end-n] -= amount
	}
	sum := 0.0
	for i := range flow {
		for j, f := range flow[i] {
			sum += float64(f) * cost[i][j]
		}
	}
	return sum
}

// Stop reports whether a word, in lower case, is one of English's closed classes,
// which move no meaning: articles, pronouns, prepositions, conjunctions,
// auxiliaries. The paper's authors leave such words out.
func Stop(word string) bool {
	_, ok := slices.BinarySearch(stopWords[:], word)
	return ok
}

var stopWords = [...]string{
	"'s", "a", "about", "above", "after", "again", "against", "all", "am", "an", "and", "any", "are", "as", "at", "be", "because",
	"been", "before",
	"being", "below", "between", "both", "but", "by", "can", "could", "did", "do", "does", "doing", "down", "during", "each", "few",
	"for", "from",
	"further", "had", "has", "have", "having", "he", "her", "here", "hers", "herself", "him", "himself", "his", "how", "i", "if", "in",
	"into", "is",
	"it", "its", "itself", "just", "may", "me", "might", "more", "most", "must", "my", "myself", "n't", "no", "nor", "not", "now",
	"of", "off", "on",
	"once", "only", "or", "other", "our", "ours", "ourselves", "out", "over", "own", "same", "shall", "she", "should", "so", "some",
	"such", "than",
	"that", "the", "their", "theirs", "them", "themselves", "then", "there", "these", "they", "this", "those", "through", "to", "too",
	"under",
	"until", "up", "very", "was", "we", "were", "what", "when", "where", "which", "while", "who", "whom", "why", "will", "with",
	"would", "you",
	"your", "yours", "yourself", "yourselves",
}
