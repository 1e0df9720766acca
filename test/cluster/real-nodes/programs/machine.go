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
	// Directory that the node's disk, a tmpfs, is mounted on. Only this process and the node see it.
	Disk string `json:"disk"`
	// Capacity of that tmpfs, such as "8g".
	DiskSize string `json:"diskSize"`
	Hostname string `json:"hostname"`
	// Name of the node's cgroup below the root of each hierarchy.
	Cgroup string `json:"cgroup"`
	// Folders of the machine that the node sees at another place, read-only.
	Folders []folder `json:"folders"`
	// Files that are written into the node before each start, by path.
	Files map[string]string `json:"files"`
	// Sysctls that are shown to the node instead of the machine's: it may read but not change what all nodes share.
	Sysctls map[string]string `json:"sysctls"`
	// Run one after the other before any unit is started; each must succeed.
	Setup [][]string `json:"setup"`
	Units []unit     `json:"units"`
	// Environment of everything that runs in the node.
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
	// Receives both output streams; a path of the machine.
	Log string `json:"log"`
	// The unit is started when this path of the node exists.
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

// machine is the hardware of one node: it has the disk, which survives a reboot, and the power switch. It runs in a mount
// namespace of its own. Its owner says on standard input what to do, and is answered on standard output:
//
//	on   → "on PID", process 1 of the node, whose namespaces exist; nothing runs in them yet
//	boot → "booted"; then the node's programs are being started
//	off  → "off" when nothing of the node runs any more
//
// The end of standard input is the end of the owner: everything goes, also what the kernel would keep.
type machine struct {
	configPath string
	config     *machineConfig
	process1   int
	release    *os.File
}

func runMachine(args []string) error {
	if len(args) != 1 {
		return errors.New("one argument is needed: the configuration")
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
		return errors.New("on: the machine is on already")
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

// off ends process 1. The kernel then ends all others of its process namespace, and the wait ends after the last of them.
// The cgroups of the containers go, too: a kubelet that finds some takes them for running containers.
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

// cgroupFolders are the places of a cgroup: one with version 2, one per hierarchy with version 1. With "unified" a version
// 2 beside version 1 is among them; container runtimes use it for nothing, but leave folders there.
func cgroupFolders(name string, unified bool) ([]string, error) {
	if _, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers")); err == nil {
		return []string{filepath.Join(cgroupRoot, name)}, nil
	}
	entries, err := os.ReadDir(cgroupRoot)
	var folders []string
	for _, entry := range entries {
		hierarchy := filepath.Join(cgroupRoot, entry.Name())
		_, err := os.Stat(filepath.Join(hierarchy, "tasks"))
		// Symbolic links are second names of a hierarchy.
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
		// With version 1 a new cpuset is empty, and takes no process.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(filepath.Dir(path), file))
			if err == nil && strings.Contains(path, "cpuset") {
				os.WriteFile(filepath.Join(path, file), value, 0o644)
			}
		}
	}
	return nil
}

// removeCgroups removes a cgroup, whose processes have ended, with all below it.
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
		// Not RemoveAll: the files in it cannot be removed and need not be.
		err := unix.Rmdir(path)
		if err == nil || err == unix.ENOENT {
			return nil
		}
		// The kernel takes leave of the last process after its parent was told of the end.
		if err != unix.EBUSY || time.Now().After(deadline) {
			return fmt.Errorf("rmdir %s: %w", path, err)
		}
	}
}
