package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/confman/confman/jepsen"
)

// diskCommand is what "jepsen ssh" has this program do on other machines.
func diskCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "disk", Short: "Serve the disk of a node, on a machine of jepsen ssh", Hidden: true}
	cmd.AddCommand(
		&cobra.Command{
			Use: "serve DIR DATA SEED WHY", Short: "Serve the disk that is mounted at DATA; a directory, if WHY says why", Args: cobra.ExactArgs(4),
			RunE: func(cmd *cobra.Command, args []string) error {
				seed, err := strconv.ParseUint(args[2], 10, 64)
				if err != nil {
					return fmt.Errorf("%q is no seed", args[2])
				}
				return jepsen.ServeDisk(cmd.Context(), args[0], args[1], seed, args[3])
			},
		},
		&cobra.Command{
			Use: "tell DIR", Short: "Have the disk obey an order from standard input", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return jepsen.TellDisk(cmd.Context(), args[0], cmd.InOrStdin(), cmd.OutOrStdout())
			},
		},
	)
	return cmd
}
