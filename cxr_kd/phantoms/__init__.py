"""Draw phantoms, synthetic chest radiographs with known findings; `cxr_kd.data.readers.phantom` makes a data set.

`labels` says who is examined and what they have; `draw` draws one phantom; `radiograph` goes from exam to pixels:
`body`, `anatomy` and `bones` draw the normal chest, `findings` (with `outlines`, `opacities`, `lesion`) what is added.
"""
