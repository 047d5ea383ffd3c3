package sample

import (
	_ "embed"
	"math"

	"parley/engine"
	"parley/engine/cuda"
)

//go:embed op.tar.zst
var image string

var module = cuda.NewModule("sample", image)

const threads, wordThreads = 256, 512

func blocks(elems int) cuda.Dim { return cuda.Dim{X: max(1, min(1<<16, (elems+threads-1)/threads))} }

// double is an argument of 8 bytes, where a float64 would be rounded.
func double(v float64) uint64 { return math.Float64bits(v) }

func stepOnCUDA(d *cuda.Device, s *engine.Stream, r Recipe, x, model *engine.Tensor, past []*engine.Tensor, first, noise, next, p *engine.Tensor) {
	if x.Elems() == 0 {
		return
	}
	var ps [3]*engine.Tensor
	var cs [3]float64
	copy(cs[:], r.Past)
	copy(ps[:], past[:len(r.Past)])
	if r.First == 0 {
		first = nil
	}
	if r.Noise == 0 {
		noise = nil
	}
	d.Launch(s, module, "step_"+model.DType().String(), blocks(x.Elems()), cuda.Dim{X: threads}, 0,
		x, model, ps[0], ps[1], ps[2], first, noise, next, p, nil, int64(x.Elems()),
		double(r.PX), double(r.PE), double(r.Clip), double(r.X), double(r.E), double(r.P), double(cs[0]), double(cs[1]), double(cs[2]),
		double(r.First), double(r.Noise), double(r.Guidance), double(0), 0)
}

func finiteOnCUDA(d *cuda.Device, s *engine.Stream, x *engine.Tensor) bool {
	if x.Elems() == 0 {
		return true
	}
	flag := s.Put(engine.FromI32([]int32{0}, 1))
	d.Launch(s, module, "finite_"+x.DType().String(), cuda.Dim{X: min(4*d.SMs(), (x.Elems()+255)/256)}, cuda.Dim{X: 256}, 0, x, flag, int64(x.Elems()))
	host, err := s.Get(flag)
	s.Free(flag)
	if err != nil {
		s.Fail(err)
		return true
	}
	return host.I32()[0] == 0
}

func mixOnCUDA(d *cuda.Device, s *engine.Stream, a float64, x *engine.Tensor, b float64, y, out *engine.Tensor) {
	if x.Elems() > 0 {
		d.Launch(s, module, "mix_f32", blocks(x.Elems()), cuda.Dim{X: threads}, 0, x, y, out, int64(x.Elems()), double(a), double(b))
	}
}

func scaleOnCUDA(d *cuda.Device, s *engine.Stream, dst, x *engine.Tensor, a float64) {
	if x.Elems() > 0 {
		d.Launch(s, module, "scale_"+x.DType().String()+"_"+dst.DType().String(), blocks(x.Elems()), cuda.Dim{X: threads}, 0, x, dst, int64(x.Elems()), float32(a))
	}
}

// question is what the word kernels ask of the host, in one upload: the choice,
// a stream and a count of ids for each row, and the ids in rows of one length.
type question struct {
	t                           *engine.Tensor
	room                        int
	choice, streams, counts, id *engine.Tensor
	scores                      *engine.Tensor
}

// words of a Choice in op.cu.
const choiceWords = 12

func ask(s *engine.Stream, c Choice, ids [][]int32, scores []float64) question {
	rows, q := len(ids), question{room: 1}
	for _, row := range ids {
		q.room = max(q.room, len(row))
	}
	w := make([]int32, 0, choiceWords+5*rows+rows*q.room)
	long := func(v uint64) { w = append(w, int32(uint32(v)), int32(uint32(v>>32))) }
	or1 := func(v float64) float64 {
		if v == 0 {
			return 1
		}
		return v
	}
	long(double(or1(c.Temperature)))
	long(double(or1(c.TopP)))
	long(c.Seed)
	long(c.Offset)
	barred, chance := int32(-1), int32(0)
	if c.Bar {
		barred = c.Barred
	}
	if c.Sample {
		chance = 1
	}
	w = append(w, int32(c.TopK), chance, barred, int32(math.Float32bits(float32(or1(c.RepetitionPenalty)))))
	for i := range rows {
		v := uint64(0)
		if c.Sample {
			v = c.Streams[i]
		}
		long(v)
	}
	for i := range rows {
		v := 0.
		if scores != nil {
			v = scores[i]
		}
		long(double(v))
	}
	for _, row := range ids {
		n := int32(len(row))
		if row == nil {
			n = -1
		}
		w = append(w, n)
	}
	for _, row := range ids {
		w = append(append(w, row...), make([]int32, q.room-len(row))...)
	}
	q.t = s.Put(engine.FromI32(w, len(w)))
	at := 0
	part := func(n int) *engine.Tensor { at += n; return q.t.Rows(at-n, at) }
	q.choice, q.streams, q.scores, q.counts, q.id = part(choiceWords), part(2*rows), part(2*rows), part(rows), part(rows*q.room)
	return q
}

// bits of a vocabulary, in bytes.
func bitBytes(vocab int) int { return (vocab + 31) / 32 * 4 }

func float(lo, hi int32) float64 {
	return math.Float64frombits(uint64(uint32(hi))<<32 | uint64(uint32(lo)))
}

func wordsOnCUDA(d *cuda.Device, s *engine.Stream, logits *engine.Tensor, ids [][]int32, c Choice, out []Word) {
	rows, vocab := len(ids), logits.Dim(1)
	if rows == 0 || vocab == 0 {
		return
	}
	q := ask(s, c, ids, nil)
	answer := s.New(engine.I32, rows, 4)
	d.Launch(s, module, "words_f32", cuda.Dim{X: rows}, cuda.Dim{X: wordThreads}, bitBytes(vocab), logits, q.id, q.counts, q.choice, q.streams, answer, nil, vocab, q.room)
	if host, err := s.Get(answer); err != nil {
		s.Fail(err)
	} else {
		for i, v := range host.I32() {
			if i%4 == 0 && ids[i/4] != nil {
				out[i/4] = Word{v, float(host.I32()[i+2], host.I32()[i+3])}
			}
		}
	}
	s.Free(q.t, answer)
}

func continuationsOnCUDA(d *cuda.Device, s *engine.Stream, logits *engine.Tensor, ids [][]int32, scores []float64, beams int, c Choice, out [][]Next) {
	rows, vocab := len(ids), logits.Dim(1)
	if rows == 0 || vocab == 0 {
		return
	}
	q := ask(s, c, ids, scores)
	answer := s.New(engine.I32, 2*rows, 4)
	d.Launch(s, module, "continuations_f32", cuda.Dim{X: rows / beams}, cuda.Dim{X: wordThreads}, beams*bitBytes(vocab), logits, q.id, q.counts, q.scores, q.choice, answer, vocab, q.room, beams)
	if host, err := s.Get(answer); err != nil {
		s.Fail(err)
	} else {
		w := host.I32()
		for i := range 2 * rows {
			if beam := w[4*i]; beam >= 0 {
				p := i / (2 * beams)
				out[p] = append(out[p], Next{int(beam), w[4*i+1], float(w[4*i+2], w[4*i+3])})
			}
		}
	}
	s.Free(q.t, answer)
}

func cosineOnCUDA(d *cuda.Device, s *engine.Stream, x, y *engine.Tensor, scores []float64) (best int) {
	k := len(scores)
	if k == 0 {
		return 0
	}
	answer := s.New(engine.I32, 2*k+1)
	d.Launch(s, module, "cosine_f32", cuda.Dim{X: 1}, cuda.Dim{X: wordThreads}, 0, x, y, answer, answer.Rows(2*k, 2*k+1), k, x.Dim(-1))
	host, err := s.Get(answer)
	s.Free(answer)
	if err != nil {
		s.Fail(err)
		return 0
	}
	w := host.I32()
	for i := range scores {
		scores[i] = float(w[2*i], w[2*i+1])
	}
	return int(w[2*k])
}
