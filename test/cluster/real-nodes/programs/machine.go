package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// machineConfig is written by real-node.ts.
type machineConfig struct {
	// Directory on which the node's disk, a tmpfs, is mounted. Only this process and the node see it.
	Disk string `json:"disk"`
	// Capacity of that tmpfs, such as "8g".
	DiskSize string `json:"diskSize"`
	Hostname string `json:"hostname"`
	// Name of the node's cgroup below the root of each hierarchy.
	Cgroup string `json:"cgroup"`
	// Folders of the machine that the node sees at another path, read-only.
	Folders []folder `json:"folders"`
	// Files to write into the node before each start, by path.
	Files map[string]string `json:"files"`
	// Sysctl values that the node sees instead of the machine's. It can read but not change what all nodes share.
	Sysctls map[string]string `json:"sysctls"`
	// Commands that run in order before any unit starts. Each must succeed.
	Setup [][]string `json:"setup"`
	Units []unit     `json:"units"`
	// Environment of everything in the node.
	Environment []string `json:"environment"`
}

type folder struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// unit is one program that process 1 keeps running, as systemd would.
type unit struct {
	Name    string   `json:"name"`
	Command []string `json:"command"`
	// Path on the machine. Receives both output streams.
	Log string `json:"log"`
	// The unit starts once this path exists in the node.
	After string `json:"after"`
}

func readConfig(path string) (*machineConfig, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	config := &machineConfig{}
	return config, json.Unmarshal(text, config)
}

// machine is the hardware of one node. It has the disk, which survives a reboot, and the power switch. It runs in its own
// mount namespace. Its owner sends requests on standard input and gets responses on standard output:
//
//	on   → "on PID": process 1 of the node. Its namespaces exist; nothing runs in them yet.
//	boot → "booted": the node's programs are starting.
//	off  → "off": nothing of the node runs any more.
//
// When standard input closes, the owner has ended. Then everything is removed, including what the kernel would keep.
type machine struct {
	configPath string
	config     *machineConfig
	process1   int
	release    *os.File
}

func runMachine(args []string) error {
	if len(args) != 1 {
		return errors.New("expected one argument: the configuration")
	}
	config, err := readConfig(args[0])
	if err != nil {
		return err
	}
	options := "mode=0755,size=" + config.DiskSize
	if err := unix.Mount("node-disk", config.Disk, "tmpfs", 0, options); err != nil {
		return fmt.Errorf("mount disk: %w", err)
	}
	m := &machine{configPath: args[0], config: config}
	lines := bufio.NewScanner(os.Stdin)
	var failure error
	for failure == nil && lines.Scan() {
		failure = m.obey(lines.Text())
	}
	return errors.Join(failure, m.off())
}

func (m *machine) obey(command string) error {
	switch command {
	case "on":
		return m.on()
	case "boot":
		if m.release == nil {
			return errors.New("boot: the machine is not on")
		}
		_, err := m.release.WriteString("go\n")
		m.release.Close()
		m.release = nil
		if err != nil {
			return err
		}
		fmt.Println("booted")
		return nil
	case "off":
		if err := m.off(); err != nil {
			return err
		}
		fmt.Println("off")
		return nil
	default:
		return fmt.Errorf("unknown command %q", command)
	}
}

func (m *machine) on() error {
	if m.process1 != 0 {
		return errors.New("on: the machine is already on")
	}
	if err := createCgroups(m.config.Cgroup); err != nil {
		return errors.Join(err, removeCgroups(m.config.Cgroup))
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	process, err := os.StartProcess("/proc/self/exe", []string{"node-machine", "init", m.configPath}, &os.ProcAttr{
		Files: []*os.File{read, os.Stderr, os.Stderr},
		Sys: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
			Pdeathsig:  syscall.SIGKILL,
			Setsid:     true,
		},
	})
	if err != nil {
		write.Close()
		return fmt.Errorf("process 1: %w", err)
	}
	m.process1, m.release = process.Pid, write
	fmt.Println("on", m.process1)
	return nil
}

// off ends process 1. The kernel then kills the rest of its PID namespace, and the wait returns after the last process.
// The cgroups of the containers go too, because a kubelet takes any that it finds for running containers.
func (m *machine) off() error {
	if m.process1 == 0 {
		return nil
	}
	unix.Kill(m.process1, unix.SIGKILL)
	for {
		if _, err := unix.Wait4(m.process1, nil, 0, nil); err != unix.EINTR {
			break
		}
	}
	if m.release != nil {
		m.release.Close()
	}
	m.process1, m.release = 0, nil
	return removeCgroups(m.config.Cgroup)
}

const (
	cgroupRoot    = "/sys/fs/cgroup"
	cgroupTimeout = 3 * time.Second
)

// cgroupFolders returns the folders of a cgroup: one with version 2, one for each hierarchy with version 1. With "unified",
// it includes version 2 beside version 1. Container runtimes do not use that one, but leave folders there.
func cgroupFolders(name string, unified bool) ([]string, error) {
	if _, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers")); err == nil {
		return []string{filepath.Join(cgroupRoot, name)}, nil
	}
	entries, err := os.ReadDir(cgroupRoot)
	var folders []string
	for _, entry := range entries {
		hierarchy := filepath.Join(cgroupRoot, entry.Name())
		_, err := os.Stat(filepath.Join(hierarchy, "tasks"))
		// Symbolic links are aliases of a hierarchy.
		if entry.IsDir() && (err == nil || unified) {
			folders = append(folders, filepath.Join(hierarchy, name))
		}
	}
	return folders, err
}

func createCgroups(name string) error {
	folders, err := cgroupFolders(name, false)
	if err != nil {
		return err
	}
	for _, path := range folders {
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
		// With version 1 a new cpuset is empty and accepts no process.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(filepath.Dir(path), file))
			if err == nil && strings.Contains(path, "cpuset") {
				os.WriteFile(filepath.Join(path, file), value, 0o644)
			}
		}
	}
	return nil
}

// removeCgroups removes a cgroup and everything below it. Its processes must have ended.
func removeCgroups(name string) error {
	folders, err := cgroupFolders(name, true)
	for _, top := range folders {
		var below []string
		filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				below = append(below, path)
			}
			return nil
		})
		for i := len(below) - 1; i >= 0; i-- {
			err = errors.Join(err, removeCgroup(below[i]))
		}
	}
	return err
}

func removeCgroup(path string) error {
	for deadline := time.Now().Add(cgroupTimeout); ; time.Sleep(10 * time.Millisecond) {
		// Not RemoveAll: the files in a cgroup cannot be removed, and go with it.
		err := unix.Rmdir(path)
		if err == nil || err == unix.ENOENT {
			return nil
		}
		// The kernel may still be releasing the last process after its parent has been notified.
		if err != unix.EBUSY || time.Now().After(deadline) {
			return fmt.Errorf("rmdir %s: %w", path, err)
		}
	}
}
