package main

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/spf13/pflag"
)

// seed is a flag: a seed, or -1 for one that nobody knows before. It implements
// pflag.Value.
type seed struct {
	value  uint64
	random bool
}

func (s *seed) String() string { return strconv.FormatUint(s.value, 10) }
func (s *seed) Type() string   { return "seed" }

func (s *seed) Set(text string) error {
	if text == "-1" {
		var b [4]byte   // as many as people can copy
		rand.Read(b[:]) // never fails
		s.value, s.random = uint64(binary.LittleEndian.Uint32(b[:])), true
		return nil
	}
	v, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return fmt.Errorf("want a whole number from 0 to 18446744073709551615, or -1 for a random one")
	}
	s.value, s.random = v, false
	return nil
}

func addSeed(flags *pflag.FlagSet, s *seed, of string) {
	flags.Var(s, "seed", of+"; -1: a random one, which is told [-1 to 18446744073709551615]")
}

// tellSeeds says which random seed was taken.
func (a *app) tellSeeds(flags *pflag.FlagSet) {
	flags.Visit(func(f *pflag.Flag) {
		if s, ok := f.Value.(*seed); ok && s.random {
			a.note(fmt.Sprintf("the seed is %d", s.value))
		}
	})
}
