/* Layers behind the last one in the files of some families, which predict tokens further ahead
 * (Gloeckle et al. 2024). They are not served: their tensors stay in the files. */
#pragma once

struct checkpoint;

/* Of a checkpoint that has been opened: tensors of such layers are apart. */
void ahead_part_find(struct checkpoint *c);
