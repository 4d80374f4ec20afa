"""Our own files under `.superloop/ops-manager/`: where they lie, how they are replaced, appended, locked and mended."""
