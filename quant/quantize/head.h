/* The output head: by what the last layer gives, normalised, once all layers are made; in pieces,
 * since it has as many rows as the vocabulary has tokens. awq does not scale it: its numbers become
 * the nearest, and the error of its outputs is measured. */
#pragma once

#include "half.h"

/* o: the head, which is to be encoded; its bytes are there until the calibration is closed. */
int32_t head_make(struct calibration *c, struct output *o, struct err *err);
