-- Requests of visitors of the pages: one after the other, without a pause.
-- Argument: a file with one path per line.
require "counted"

function init(args)
  paths = {}
  for line in io.lines(args[1]) do paths[#paths + 1] = line end
  place = thread
end

function request()
  place = place % #paths + 1
  return wrk.format("GET", paths[place])
end
