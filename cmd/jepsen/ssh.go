package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/confman/confman/jepsen"
)

func sshCommand() *cobra.Command {
	var f runFlags
	var inventory string
	cmd := &cobra.Command{
		Use: "ssh", Short: "Run a cluster on machines that are reached over SSH",
		Long: `Run a cluster on machines that are reached over SSH: not on any that others need.

The inventory, YAML or JSON, says which they are; docs/chaos.md has an example. What is done to them is undone in the end,
also after Ctrl-C; they undo it by themselves when this program is not heard from.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			inv, err := jepsen.ReadInventory(inventory)
			if err != nil {
				return err
			}
			self, err := os.Executable()
			if err != nil {
				return err
			}
			sections, err := f.o.Sections()
			if err != nil {
				return err
			}
			ground, err := jepsen.NewSSH(cmd.Context(), jepsen.SSHOptions{
				Program: f.program, Jepsen: self, Inventory: inv, Sections: sections, Seed: f.o.Seed,
				Log: func(format string, args ...any) { fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...) },
			})
			if err != nil {
				return err
			}
			return f.run(cmd, ground)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&inventory, "inventory", "", "the file that says which machines there are")
	_ = cmd.MarkFlagRequired("inventory") // the flag is there
	return cmd
}
