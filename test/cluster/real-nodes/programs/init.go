package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// restartDelay corresponds to systemd's RestartSec.
const restartDelay = 300 * time.Millisecond

// runInit is process 1 of a node. It first waits for a line on standard input; before that the owner plugs in the network
// interfaces. Then it makes the node's file system, and keeps the units running for as long as the node is on.
func runInit(args []string) error {
	config, err := readConfig(args[0])
	if err != nil {
		return err
	}
	if line, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil || line != "go\n" {
		return errors.New("the machine was switched off before it booted")
	}
	// Opened while the machine's folders are still visible.
	logs := make([]*os.File, len(config.Units))
	for i, unit := range config.Units {
		logs[i], err = os.OpenFile(unit.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
	}
	if err := makeRoot(config); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(config.Hostname)); err != nil {
		return err
	}
	os.Clearenv()
	for _, variable := range config.Environment {
		name, value, _ := strings.Cut(variable, "=")
		os.Setenv(name, value)
	}
	for path, text := range config.Files {
		if err := writeFile(path, text); err != nil {
			return err
		}
	}
	for _, command := range config.Setup {
		if output, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, output)
		}
	}
	return keepRunning(config.Units, logs)
}

type mount struct {
	source, target, kind string
	flags                uintptr
	data                 string
}

// makeRoot makes the machine's root the node's root, with all changes on the node's own disk. Folders that a node must not
// share are mounted over it. Mounts propagate from the node to its containers, as under systemd, and nowhere else.
func makeRoot(config *machineConfig) error {
	disk := func(parts ...string) string { return filepath.Join(append([]string{config.Disk}, parts...)...) }
	root := disk("root")
	own := []mount{
		// An overlay cannot be the upper layer of another overlay, and containerd's snapshots are overlays.
		{disk("var-lib"), "/var/lib", "", unix.MS_BIND, ""},
		{disk("var-log"), "/var/log", "", unix.MS_BIND, ""},
		// Hides the machine's own CNI configuration.
		{disk("etc-cni"), "/etc/cni", "", unix.MS_BIND, ""},
		{disk("opt-cni"), "/opt/cni", "", unix.MS_BIND, ""},
	}
	for _, mount := range own {
		if err := os.MkdirAll(mount.source, 0o755); err != nil {
			return err
		}
	}
	for _, path := range []string{root, disk("changes"), disk("work")} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
	}
	layers := fmt.Sprintf("lowerdir=/,upperdir=%s,workdir=%s", disk("changes"), disk("work"))
	if err := unix.Mount("node-root", root, "overlay", 0, layers); err != nil {
		return fmt.Errorf("mount overlay: %w", err)
	}
	at := func(path string) string { return filepath.Join(root, path) }
	mounts := []mount{
		{"proc", "/proc", "proc", 0, ""},
		// sysfs shows the network namespace in which it is mounted.
		{"sysfs", "/sys", "sysfs", 0, ""},
		{"/sys/fs/cgroup", "/sys/fs/cgroup", "", unix.MS_BIND | unix.MS_REC, ""},
		{"bpf", "/sys/fs/bpf", "bpf", 0, "mode=0700"},
		{"/dev", "/dev", "", unix.MS_BIND | unix.MS_REC, ""},
		{"run", "/run", "tmpfs", 0, "mode=0755"},
		{"tmp", "/tmp", "tmpfs", 0, "mode=1777"},
	}
	mounts = append(mounts, own...)
	for _, folder := range config.Folders {
		mounts = append(mounts, mount{folder.From, folder.To, "", unix.MS_BIND, ""})
	}
	for _, mount := range mounts {
		if !strings.HasPrefix(mount.target, "/sys/") {
			if err := os.MkdirAll(at(mount.target), 0o755); err != nil {
				return err
			}
		}
		if err := unix.Mount(mount.source, at(mount.target), mount.kind, mount.flags, mount.data); err != nil {
			return fmt.Errorf("mount %s: %w", mount.target, err)
		}
	}
	for name, value := range config.Sysctls {
		file := disk("sysctl-" + name)
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		path := at("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
		if err := unix.Mount(file, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", path, err)
		}
	}
	return enterRoot(root)
}

func enterRoot(root string) error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	// Stacks the old root on top of the new one, where it can be unmounted. It needs no folder of its own.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("umount of the old root: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make-rshared: %w", err)
	}
	return os.Chdir("/")
}

func writeFile(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o600)
}

// keepRunning starts the units and restarts any that end. It also reaps the node's orphaned processes.
func keepRunning(units []unit, logs []*os.File) error {
	due := make(chan int)
	ended := make(chan int)
	go reap(ended)
	for i := range units {
		go awaitPath(units[i].After, due, i)
	}
	running := map[int]int{}
	for {
		select {
		case i := <-due:
			process, err := os.StartProcess(units[i].Command[0], units[i].Command, &os.ProcAttr{
				Dir:   "/",
				Files: []*os.File{nil, logs[i], logs[i]},
				Sys:   &syscall.SysProcAttr{Setsid: true},
			})
			if err != nil {
				return fmt.Errorf("%s: %w", units[i].Name, err)
			}
			running[process.Pid] = i
			writeFile("/run/units/"+units[i].Name+".pid", fmt.Sprintln(process.Pid))
		case pid := <-ended:
			i, ok := running[pid]
			if !ok {
				continue
			}
			delete(running, pid)
			fmt.Fprintf(os.Stderr, "%s ended and is started again\n", units[i].Name)
			go func() {
				time.Sleep(restartDelay)
				awaitPath(units[i].After, due, i)
			}()
		}
	}
}

func awaitPath(path string, due chan<- int, i int) {
	for path != "" {
		if _, err := os.Stat(path); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	due <- i
}

func reap(ended chan<- int) {
	for {
		pid, err := unix.Wait4(-1, nil, 0, nil)
		switch err {
		case nil:
			ended <- pid
		case unix.ECHILD:
			time.Sleep(10 * time.Millisecond)
		}
	}
}
