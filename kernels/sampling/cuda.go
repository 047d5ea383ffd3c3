package sampling

import (
	_ "embed"
	"math"

	"parley/engine"
	"parley/engine/cuda"
)

//go:embed op.tar.zst
var image string

var module = cuda.NewModule("sampling", image)

const threads = 512 // of a block, which has a row or a prompt

// request is what the kernels need of the host, in one upload: the options, a
// subsequence, a score and a count of ids for each row, and the ids in rows of
// one length.
type request struct {
	all     *engine.Tensor
	longest int // ids of a row

	options, subsequences, scores, counts, ids *engine.Tensor
}

// optionsWords is how many words of 32 bits op.cu's Options have.
const optionsWords = 12

func upload(s *engine.Stream, o Options, ids [][]int32, scores []float64) request {
	rows, r := len(ids), request{longest: 1}
	for _, row := range ids {
		r.longest = max(r.longest, len(row))
	}
	w := make([]int32, 0, optionsWords+5*rows+rows*r.longest)
	u64 := func(v uint64) { w = append(w, int32(uint32(v)), int32(uint32(v>>32))) }
	f64 := func(v float64) { u64(math.Float64bits(v)) }
	f64(orOne(o.Temperature))
	f64(orOne(o.TopP))
	u64(o.Seed)
	u64(o.Offset)
	sample, suppressed := int32(0), int32(-1)
	if o.Sample {
		sample = 1
	}
	if o.Suppress {
		suppressed = o.Suppressed
	}
	w = append(w, int32(min(o.TopK, math.MaxInt32)), sample, suppressed, int32(math.Float32bits(float32(orOne(o.RepetitionPenalty)))))
	for i := range rows {
		v := uint64(0)
		if o.Sample {
			v = o.Subsequences[i]
		}
		u64(v)
	}
	for i := range rows {
		v := 0.
		if scores != nil {
			v = scores[i]
		}
		f64(v)
	}
	for _, row := range ids {
		n := int32(len(row))
		if row == nil {
			n = -1
		}
		w = append(w, n)
	}
	for _, row := range ids {
		w = append(append(w, row...), make([]int32, r.longest-len(row))...)
	}
	r.all = s.Put(engine.FromI32(w, len(w)))
	at := 0
	part := func(n int) *engine.Tensor { at += n; return r.all.Rows(at-n, at) }
	r.options, r.subsequences, r.scores = part(optionsWords), part(2*rows), part(2*rows)
	r.counts, r.ids = part(rows), part(rows*r.longest)
	return r
}

// orOne is an option whose zero value means 1.
func orOne(v float64) float64 {
	if v == 0 {
		return 1
	}
	return v
}

// maskBytes is the size of a bit for each token of a vocabulary.
func maskBytes(vocab int) int { return (vocab + 31) / 32 * 4 }

// mostBeams is how many beams a block has room for: a bit for each token of each, beside
// what the kernel has of its own.
func mostBeams(d *cuda.Device, vocab int) int {
	const own = 2 << 10
	return min(MaxBeams, (d.MaxShared()-own)/max(maskBytes(vocab), 1))
}

func f64(lo, hi int32) float64 {
	return math.Float64frombits(uint64(uint32(hi))<<32 | uint64(uint32(lo)))
}

func tokensOnCUDA(d *cuda.Device, s *engine.Stream, logits *engine.Tensor, ids [][]int32, o Options, out []Token) {
	rows, vocab := len(ids), logits.Dim(1)
	if rows == 0 || vocab == 0 {
		return
	}
	r := upload(s, o, ids, nil)
	answer := s.New(engine.I32, rows, 4)
	d.Launch(s, module, "tokens_f32", cuda.Dim{X: rows}, cuda.Dim{X: threads}, maskBytes(vocab),
		logits, r.ids, r.counts, r.options, r.subsequences, answer, vocab, r.longest)
	if host, err := s.Get(answer); err != nil {
		s.Fail(err)
	} else {
		for i := range rows {
			if w := host.I32()[4*i:]; ids[i] != nil {
				out[i] = Token{w[0], f64(w[2], w[3])}
			}
		}
	}
	s.Free(r.all, answer)
}

func continuationsOnCUDA(d *cuda.Device, s *engine.Stream, logits *engine.Tensor,
	ids [][]int32, scores []float64, beams int, o Options, out [][]Continuation) {
	rows, vocab := len(ids), logits.Dim(1)
	if rows == 0 || vocab == 0 {
		return
	}
	r := upload(s, o, ids, scores)
	answer := s.New(engine.I32, 2*rows, 4)
	d.Launch(s, module, "continuations_f32", cuda.Dim{X: rows / beams}, cuda.Dim{X: threads}, beams*maskBytes(vocab),
		logits, r.ids, r.counts, r.scores, r.options, answer, vocab, r.longest, beams)
	if host, err := s.Get(answer); err != nil {
		s.Fail(err)
	} else {
		for i := range 2 * rows {
			if w := host.I32()[4*i:]; w[0] >= 0 {
				p := i / (2 * beams)
				out[p] = append(out[p], Continuation{int(w[0]), w[1], f64(w[2], w[3])})
			}
		}
	}
	s.Free(r.all, answer)
}
