// Package workers spreads independent items over the cores.
package workers

import (
	"runtime"
	"sync"
)

// Each runs f for 0 to n-1, block by block, on all cores. Each worker has a T
// from the pool as long as it works.
func Each[T any](n, block int, pool *sync.Pool, f func(own T, i int)) {
	blocks := make(chan int)
	var wait sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), (n+block-1)/block) {
		wait.Add(1)
		go func() {
			defer wait.Done()
			own := pool.Get().(T)
			defer pool.Put(own)
			for lo := range blocks {
				for i := lo; i < min(lo+block, n); i++ {
					f(own, i)
				}
			}
		}()
	}
	for lo := 0; lo < n; lo += block {
		blocks <- lo
	}
	close(blocks)
	wait.Wait()
}
