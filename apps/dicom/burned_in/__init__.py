"""Text burned into pixels: where devices write it, how it is found, and how it is taken out.

    rules    what is known before looking: devices, ultrasound regions, and which objects need no looking at
    evened   spreads dark and bright grounds, so that faint text is seen
    detect   finds text in one picture
    blots    leaves out what was made of several lines at once
    sample   chooses what to look at of an instance: some frames, and what all of them have in common
    clean    fills regions of every frame, in native and in compressed transfer syntaxes
    cleaner  all of it in order: mask, look, clean, look again; answers what the de-identification engine asks

Nothing here is imported until an instance needs it: the detector is heavy, and no web process should hold it.
"""
