package vocab

import (
	"slices"
	"testing"
	"testing/fstest"
)

// TestLoadSBERT: what BLIP adds to BERT's vocabulary is pieces of words to a BERT.
func TestLoadSBERT(t *testing.T) {
	files, err := BERTFiles()
	if err != nil {
		t.Fatal(err)
	}
	fsys := fstest.MapFS{}
	for name, data := range files {
		fsys[name] = &fstest.MapFile{Data: data}
	}
	blip, err := LoadBERT(fsys, ".")
	if err != nil {
		t.Fatal(err)
	}
	bert, err := LoadSBERT(fsys, ".")
	if err != nil {
		t.Fatal(err)
	}
	if ids := blip.Encode("a [DEC]"); slices.Max(ids) != bertWords {
		t.Errorf("BLIP's: %v", ids)
	}
	if ids := bert.Encode("a [DEC]"); slices.Max(ids) >= bertWords || len(ids) != 6 { // [CLS] a [ dec ] [SEP]
		t.Errorf("BERT's: %v", ids)
	}
}
