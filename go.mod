module parley

go 1.25
