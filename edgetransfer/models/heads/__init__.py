"""One file per task: how its head is trained. The names are those of edgetransfer/runtime/decoders."""
