package score

import "math/bits"

// rougeL is ROUGE-L (Lin, 2004) as the COCO tools weigh it: beta 1.2, the
// largest precision and the largest recall of all references.
func rougeL(c caption, refs []caption) float64 {
	precision, recall := 0.0, 0.0
	var l lcs
	l.take(c.words)
	for _, r := range refs {
		n := float64(l.length(r.words))
		precision = max(precision, n/float64(len(c.words)))
		recall = max(recall, n/float64(len(r.words)))
	}
	if precision == 0 || recall == 0 {
		return 0
	}
	const beta2 = 1.2 * 1.2
	return (1 + beta2) * precision * recall / (recall + beta2*precision)
}

// lcs is the length of longest common subsequences with one sentence, 64 of its
// words at a time (Hyyrö, "Bit-parallel LCS-length computation revisited", 2004).
type lcs struct {
	n     int
	where map[int32][]places // by word: where it stands, in order
}

// places are those of a word among 64.
type places struct {
	block int
	mask  uint64
}

func (l *lcs) take(words []int32) {
	l.n, l.where = len(words), make(map[int32][]places, len(words))
	for i, w := range words {
		p := l.where[w]
		if len(p) == 0 || p[len(p)-1].block != i/64 {
			p = append(p, places{block: i / 64})
			l.where[w] = p
		}
		p[len(p)-1].mask |= 1 << (i % 64)
	}
}

func (l *lcs) length(words []int32) int {
	v := make([]uint64, (l.n+63)/64) // a zero bit for each word of the subsequence
	for i := range v {
		v[i] = ^uint64(0)
	}
	for _, w := range words {
		p, carry := l.where[w], uint64(0)
		for i := 0; len(p) > 0 || carry > 0; i++ {
			if carry == 0 {
				i = p[0].block
			}
			if i == len(v) {
				break
			}
			m := uint64(0)
			if len(p) > 0 && p[0].block == i {
				m, p = p[0].mask, p[1:]
			}
			u := v[i] & m
			var sum uint64
			sum, carry = bits.Add64(v[i], u, carry)
			v[i] = sum | (v[i] - u)
		}
	}
	n := 0
	for i, x := range v {
		if i == len(v)-1 && l.n%64 != 0 {
			x |= ^uint64(0) << (l.n % 64)
		}
		n += bits.OnesCount64(^x)
	}
	return n
}
