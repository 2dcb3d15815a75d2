/** Name of the one file in an image's snapshot: what `docker save` gives. */
export const imageFile = "image.tar";
