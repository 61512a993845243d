"""The HTTP status of each kind of refused request. The API and the console answer by it."""

from collections.abc import Mapping

from broker import errors
from broker.errors import RequestError

STATUS: Mapping[type[RequestError], int] = {
    errors.Malformed: 400,
    errors.TooDeep: 413,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.NotAcceptable: 406,
    errors.Conflict: 409,
    errors.Gone: 410,
    errors.PreconditionFailed: 412,
    errors.TooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.Unprocessable: 422,
    errors.TooMany: 429,
}
