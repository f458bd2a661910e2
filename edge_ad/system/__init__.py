"""What commands share with the operating system: files, file names, exit codes and signals."""
