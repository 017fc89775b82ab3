-- SPDX-License-Identifier: Apache-2.0
-- Puts the description of a picture in its place, so that a writer which embeds
-- pictures doesn't read the files that a document names.
function Image(picture)
  return pandoc.Emph(picture.caption)
end
