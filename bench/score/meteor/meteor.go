// Package meteor is METEOR 1.5 (Denkowski and Lavie, 2014) for English with the
// options of the COCO caption tools, -l en -norm: words match exactly, by stem,
// by synonym and by paraphrase.
//
// Its data is not part of this program: Open takes the folder that holds it.
package meteor

import (
	"fmt"
	"strings"
	"sync"

	"parley/bench/score/workers"
)

// MaxWords is the most words of a caption: aligning costs their product.
const MaxWords = 4096

// Scorer scores captions. Several goroutines may use it.
type Scorer struct {
	normalizer *normalizer
	free       sync.Pool
}

// Open reads METEOR's data: a folder with meteor-1.5.jar, or its function/,
// nonbreaking/ and synonym/, and paraphrase-en.gz, there or in data/, as PyPI's
// pycocoevalcap has them.
//
// Most of the time and the memory go to 5 million paraphrases. Where captions is
// not nil, only those are kept that can match words of these captions; others
// are then scored without their paraphrases.
func Open(dir string, captions [][]string) (*Scorer, error) {
	var keep func([]byte) bool
	if captions != nil {
		// The normalizer's data is not read yet; all it decides is whether a dot
		// stays at a word.
		n, may := newNormalizer(nil), map[string]bool{}
		for _, list := range captions {
			for _, c := range list {
				dotted := !plain(c)
				for _, w := range n.words(c) {
					may[w] = true
					if dotted {
						may[w+"."] = true
					}
				}
			}
		}
		keep = func(w []byte) bool { return may[string(w)] }
	}
	d, err := load(dir, keep)
	if err != nil {
		return nil, fmt.Errorf("METEOR's data: %w", err)
	}
	s := &Scorer{normalizer: newNormalizer(d.prefixes)}
	s.free.New = func() any { return newAligner(d) }
	return s, nil
}

// Captions returns METEOR of all captions together and of each one, against the
// reference that gives it the most. The captions are tokenized, a space between
// two tokens; refs has a list for each.
func (s *Scorer) Captions(captions []string, refs [][]string) (corpus float64, each []float64, err error) {
	if len(captions) != len(refs) {
		return 0, nil, fmt.Errorf("%d captions, references of %d", len(captions), len(refs))
	}
	all, errs := make([]stats, len(captions)), make([]error, len(captions))
	each = make([]float64, len(captions))
	workers.Each(len(captions), 32, &s.free, func(a *aligner, i int) {
		all[i], each[i], errs[i] = s.best(a, captions[i], refs[i])
	})
	var sum stats
	for i := range all {
		if errs[i] != nil {
			return 0, nil, fmt.Errorf("METEOR of caption %d: %w", i+1, errs[i])
		}
		sum.add(all[i])
	}
	return sum.score(), each, nil
}

// best is the alignment with the reference that gives the most, the first of
// equals.
func (s *Scorer) best(a *aligner, caption string, refs []string) (best stats, score float64, err error) {
	caption = strings.ReplaceAll(strings.ReplaceAll(caption, "|||", ""), "  ", " ")
	list := s.normalizer.words(caption)
	if len(list) > MaxWords {
		return best, 0, fmt.Errorf("%d words, at most %d are aligned", len(list), MaxWords)
	}
	w1 := a.words(list)
	score = -1
	for _, r := range refs {
		list := s.normalizer.words(r)
		if len(list) > MaxWords {
			return best, 0, fmt.Errorf("a reference has %d words, at most %d are aligned", len(list), MaxWords)
		}
		w2 := a.words(list)
		found, err := a.find(w1, w2)
		if err != nil {
			return best, 0, err
		}
		st := count(w1, w2, align(found, len(w1)))
		if v := st.score(); v > score {
			best, score = st, v
		}
	}
	return best, max(score, 0), nil
}
