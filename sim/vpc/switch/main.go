// The data plane of the simulated cloud. One program sees every frame that leaves or enters a simulated instance, and forwards it
// as the VPC would. Standard input tells it the state of the cloud, and it reports on standard output; both have one JSON object per
// line. It ends when its standard input closes, and its devices end with it.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 2 {
		fail("usage: vpc-switch run [FLAGS] | vpc-switch frames --netns PATH --device NAME")
	}
	var err error
	switch os.Args[1] {
	case "run":
		err = runSwitch(os.Args[2:], os.Stdin, os.Stdout)
	case "frames":
		err = runFrames(os.Args[2:], os.Stdin, os.Stdout)
	default:
		err = fmt.Errorf("unknown command %q", os.Args[1])
	}
	if err != nil {
		fail(err.Error())
	}
}

func fail(message string) {
	fmt.Fprintln(os.Stderr, "vpc-switch: "+message)
	os.Exit(1)
}
