//go:build !cuda

package main

// cublas needs a build with the driver.
func cublas(*bench) error { return skipped("this build has no CUDA") }
