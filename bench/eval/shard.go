package eval

import (
	"fmt"
	"strconv"

	"parley/bench/coco"
)

// ShardOf says which shard a process is to do: flag is i/n; without it, a task of
// Slurm's job arrays or of a Kubernetes Indexed Job finds its own in the
// environment. Of an array its place and size are known; of a Job, and of an array
// of which only some tasks run again, count says how many shards there are, and the
// task's number, from 0, which one it is. The zero Shard is all of the data. found
// says where it was found.
func ShardOf(flag string, count int, env func(string) string) (s coco.Shard, found string, err error) {
	if flag != "" {
		if count != 0 {
			return s, "", fmt.Errorf("--shard %s and --shards %d: one of them says it", flag, count)
		}
		s, err = coco.ParseShard(flag)
		return s, "--shard", err
	}
	number := func(name string) (int, error) {
		v, err := strconv.Atoi(env(name))
		if err != nil {
			return 0, fmt.Errorf("%s is %q: want a whole number", name, env(name))
		}
		return v, nil
	}
	const slurm, kubernetes = "SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX"
	name := slurm
	if env(slurm) == "" {
		if name = kubernetes; env(kubernetes) == "" {
			if count > 0 {
				return s, "", fmt.Errorf("--shards %d: neither %s nor %s says which: name it with --shard i/%d", count, slurm, kubernetes, count)
			}
			return s, "", nil
		}
	}
	task, err := number(name)
	if err != nil {
		return s, "", err
	}
	if count > 0 {
		if task < 0 || task >= count {
			return s, "", fmt.Errorf("%s is %d: of %d shards the first is 0 and the last %d", name, task, count, count-1)
		}
		return coco.Shard{Index: task + 1, Count: count}, name, nil
	}
	if name == kubernetes {
		return s, "", fmt.Errorf("%s is %d, but not how many there are: say it with --shards", name, task)
	}
	first, err := number("SLURM_ARRAY_TASK_MIN")
	if err != nil {
		return s, "", err
	}
	if count, err = number("SLURM_ARRAY_TASK_COUNT"); err != nil {
		return s, "", err
	}
	step := 1
	if env("SLURM_ARRAY_TASK_STEP") != "" {
		if step, err = number("SLURM_ARRAY_TASK_STEP"); err != nil {
			return s, "", err
		}
	}
	if step < 1 || task < first || (task-first)%step != 0 || (task-first)/step >= count {
		return s, "", fmt.Errorf("task %d of an array of %d from %d in steps of %d: name the shard with --shards or --shard", task, count, first,
			step)
	}
	return coco.Shard{Index: (task-first)/step + 1, Count: count}, name, nil
}

// ShardFolder is the folder of a shard in that of a run.
func ShardFolder(s coco.Shard) string { return fmt.Sprintf("shard-%04d-of-%04d", s.Index, s.Count) }
