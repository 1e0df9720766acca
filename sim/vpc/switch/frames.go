package main

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"syscall"
)

const (
	packetAuxdata     = 8
	packetQdiscBypass = 20
	solPacket         = 263
	packetOutgoing    = 4
	auxdataVLANValid  = 0x10
	auxdataSize       = 20
	everyProtocol     = 0x0300 // ETH_P_ALL in network order
	longestFrameBytes = 65536
)

// runFrames is a raw endpoint for tests. It sets the device up, sends each line of standard input (hexadecimal) as a frame, and
// writes each frame that arrives to standard output. The tag is where it was on the wire.
func runFrames(args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("frames", flag.ContinueOnError)
	namespace := flags.String("netns", "", "path of the network namespace")
	name := flags.String("device", "", "name of the device")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var socket, index int
	err := inNamespace(*namespace, func() error {
		found, err := net.InterfaceByName(*name)
		if err != nil {
			return err
		}
		index = found.Index
		if err := setLink(index, nil, 0, true); err != nil {
			return err
		}
		socket, err = syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, everyProtocol)
		if err != nil {
			return err
		}
		if err := syscall.SetsockoptInt(socket, solPacket, packetAuxdata, 1); err != nil {
			return err
		}
		// Frames must reach the wire whatever egress filters the node has.
		if err := syscall.SetsockoptInt(socket, solPacket, packetQdiscBypass, 1); err != nil {
			return err
		}
		return syscall.Bind(socket, &syscall.SockaddrLinklayer{Protocol: everyProtocol, Ifindex: index})
	})
	if err != nil {
		return fmt.Errorf("%s in %s: %w", *name, *namespace, err)
	}
	writer := bufio.NewWriter(out)
	send := func(message map[string]string) {
		line, _ := json.Marshal(message)
		writer.Write(append(line, '\n'))
		writer.Flush()
	}
	send(map[string]string{"ready": *name})
	go func() {
		for {
			frame, err := receiveFrame(socket)
			if err != nil {
				fail(err.Error())
			}
			if frame != nil {
				send(map[string]string{"frame": hex.EncodeToString(frame)})
			}
		}
	}()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 4*longestFrameBytes)
	for lines.Scan() {
		frame, err := hex.DecodeString(lines.Text())
		if err != nil {
			return err
		}
		to := &syscall.SockaddrLinklayer{Protocol: everyProtocol, Ifindex: index}
		if err := syscall.Sendto(socket, frame, 0, to); err != nil {
			return fmt.Errorf("sending %d bytes: %w", len(frame), err)
		}
	}
	return lines.Err()
}

// receiveFrame returns nil for a frame of our own. The kernel strips the outermost tag and passes it separately.
func receiveFrame(socket int) ([]byte, error) {
	buffer := make([]byte, longestFrameBytes)
	control := make([]byte, 256)
	length, controlLength, _, from, err := syscall.Recvmsg(socket, buffer, control, 0)
	if err == syscall.EINTR || err == syscall.ENETDOWN {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if address, ok := from.(*syscall.SockaddrLinklayer); ok && address.Pkttype == packetOutgoing {
		return nil, nil
	}
	frame := buffer[:length]
	messages, err := syscall.ParseSocketControlMessage(control[:controlLength])
	if err != nil {
		return nil, err
	}
	for _, message := range messages {
		if message.Header.Level != solPacket || message.Header.Type != packetAuxdata || len(message.Data) < auxdataSize {
			continue
		}
		if binary.NativeEndian.Uint32(message.Data)&auxdataVLANValid == 0 {
			continue
		}
		tag := binary.BigEndian.AppendUint16(nil, binary.NativeEndian.Uint16(message.Data[18:]))
		tag = binary.BigEndian.AppendUint16(tag, binary.NativeEndian.Uint16(message.Data[16:]))
		frame = append(append(append([]byte{}, frame[:12]...), tag...), frame[12:]...)
	}
	return frame, nil
}
