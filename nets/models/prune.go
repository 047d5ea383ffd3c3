package models

import (
	"errors"
	"slices"

	"parley/engine"
	"parley/kernels/rgb"
	"parley/nets/diffusion"
	"parley/nets/pixels"
	"parley/nets/rerank"
)

// Steps implements rerank.Pruner.
func (p painter) Steps() (int, error) {
	plan, err := p.Pipeline.Plan(p.o.Options)
	if err != nil {
		return 0, err
	}
	return plan.Steps(), nil
}

// DrawPruned implements rerank.Pruner. All drawings are under way at once; where they
// do not fit in memory, that is the error.
func (p painter) DrawPruned(run engine.Run, texts []string, seeds []uint64, after []int, look rerank.Look,
	each func(i int, d rerank.Drawing)) error {
	if p.o.Chunks {
		return errors.New("drawings that are given up on their way have prompts of one length: without chunks")
	}
	var failed error // of look, which ends all
	err := p.drawTexts(run, texts, seeds, p.o, true, func(plan *diffusion.Plan) diffusion.Callback {
		return func(st diffusion.Step) ([]int, error) {
			if !slices.Contains(after, st.Index+1) {
				return nil, nil
			}
			keep, err := p.preview(plan, st, look)
			failed = errors.Join(failed, err)
			return keep, err
		}
	}, func(i int, d rerank.Drawing) {
		if failed == nil {
			each(i, d)
		}
	})
	return errors.Join(failed, err)
}

// preview shows what the net takes the clean pictures for.
func (p painter) preview(plan *diffusion.Plan, st diffusion.Step, look rerank.Look) ([]int, error) {
	s, bad := st.Stream, make([]error, len(st.Samples))
	x, err := plan.Decode(s, st.Predicted(), bad)
	if err != nil {
		return nil, err
	}
	bytes := rgb.Bytes(s, x)
	s.Free(x)
	defer s.Free(bytes)
	if err := s.Synchronize(); err != nil {
		return nil, err
	}
	previews := make([]pixels.Picture, len(bad))
	for i := range previews {
		if bad[i] == nil {
			d := pixels.NewDrawn(p.device, bytes.Rows(i, i+1))
			defer d.Release()
			previews[i] = d
		}
	}
	return look(st.Index+1, st.Samples, previews)
}
