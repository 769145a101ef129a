"""The command line, `fvl`: thin faces over the library; each module adds its own subcommands."""
