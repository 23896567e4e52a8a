"""Opens our files with other programs, exactly as the README says, and compares their answers with ours."""
