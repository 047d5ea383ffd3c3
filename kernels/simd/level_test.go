package simd

// use lowers the level for a test.
func use(l Level) { active, vector = levels(l) }
