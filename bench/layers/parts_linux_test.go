package layers

import (
	"math"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"parley/engine/host"
)

// TestPartsAndWhole: on the CPU the operations' sum is within 5 % of a pass that nobody
// records. Both passes take turns on one thread and are told in its processor time, which
// other processes do not add to; what of the recorded one lies in no operation is a share
// of its own clock.
func TestPartsAndWhole(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	m := began(t, host.New(1), "unet", "mini")
	used := func() float64 {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
			t.Fatal(err)
		}
		return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
	}
	// Processor time has its noise, too: a cache is shared with whoever else is there.
	const least, most = 7, 40
	var ratios []float64
	far := math.Inf(1)
	for len(ratios) < least || far > 0.05 && len(ratios) < most {
		var whole, recorded, parts float64
		for i := range 2 { // each is first as often as second
			var err error
			before := used()
			if (len(ratios)+i)%2 == 0 {
				_, err = m.whole()
				whole = used() - before
			} else {
				err = m.recorded()
				recorded = used() - before
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, l := range m.rec.layers {
			parts += l.Rounds[len(l.Rounds)-1]
		}
		ratios = append(ratios, recorded*parts/(parts+m.rec.between[len(m.rec.between)-1])/whole)
		far = math.Abs(Median(ratios) - 1)
	}
	t.Logf("the operations' sum is %+.1f %% from the whole, median of %d rounds", 100*(Median(ratios)-1), len(ratios))
	if far > 0.05 {
		t.Errorf("%.3f of the whole: %.3f", Median(ratios), ratios)
	}
}
