"""One reader per data set: a module with `read(root, findings, options, *, images) -> CxrTable`.

To add a data set:

1. Write `cxr_kd/data/readers/NAME.py` with that function. `chestxray14.py` is a short example. Read label tables with
   `cxr_kd.data.label_file`, whose errors name file, line and column. Leave out rows without an image file and count
   them in `left_out`; without `images`, look for no file and return every row. Put citation, licence and origin into
   `SOURCE`, and the published counts into `PUBLISHED`.
2. Add NAME to `READERS` in `cxr_kd/data/__init__.py`.
3. In `cxr_kd/study/data_settings.py`, add NAME to `DatasetName`, what to put where to `LAYOUTS`, and the reader's
   options, if it has any, as settings of their own.
4. If it shares findings with other data sets, add its labels to `shared_findings.py`.
5. Test it as the others are tested in `tests/data/readers/`: a miniature in the published layout, bad rows, and any
   content at all as a label table.
"""
